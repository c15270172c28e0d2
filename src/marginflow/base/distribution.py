"""The contract of a distribution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, SupportsIndex, final

import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from marginflow.base.arguments import Values, as_context, as_rows, as_tensor, require_num_samples, shown
from marginflow.base.call import RemembersArguments
from marginflow.base.density import Density
from marginflow.base.devices import like_of, to_like
from marginflow.base.frames import by_name
from marginflow.base.labels import as_one_hot, require_one_hot
from marginflow.base.noise_sites import Sites, at_given
from marginflow.base.not_finite import not_finite, warn_of_diverged
from marginflow.base.precision import warn_of_lost_digits
from marginflow.base.support import REAL, of_events
from marginflow.base.transform import Identity, Transform

if TYPE_CHECKING:
    from marginflow.data import DataSpec, Schema


class Distribution(RemembersArguments, nn.Module, ABC):
    """A distribution over events of `event_shape`.

    log_prob(x, context)    (N, *event) -> (N,), log p(x) in nats
    sample(num, context)    -> (num, *event), independent samples without gradients

    The context, where a part uses one, has one row for each row of x (for each sample in `sample`), or one row that
    stands for all. Rows and contexts may be tensors, arrays or lists, of any precision; one row may come without its
    batch dimension. A context that is a label may be its name, where `spec` holds the names, or its number. The public
    methods bring them to the model's shape, precision and device, or raise a ValueError.

    The attribute `spec` holds what is known of the rows that it was trained on, columns and labels among them; it is
    None before a training.

    A subclass implements `_log_prob` and `_sample`, which get rows and contexts that fit, and call those of its parts;
    where it is not exact `_noise`, where it is exact `_sample_and_log_prob`; around another density `unwrap` and
    `with_base`. It describes itself by the properties below. It leaves the public methods as they are.
    """

    spec: DataSpec | None = None

    @property
    def event_shape(self) -> torch.Size | None:
        """The shape of one event; None where a density from elsewhere does not say."""
        return None

    @property
    def exact(self) -> bool:
        """Whether log_prob is the log density itself.

        False once a part draws noise. Then log_prob is a random log w with E[w] = p(x), on average a lower bound,
        which `log_likelihood` tightens.
        """
        return True

    @property
    def context_features(self) -> int:
        """The width of the context that some part uses; 0 where none does."""
        return 0

    @property
    def context_optional(self) -> bool:
        """Whether the context may be left out, as by a mixture, which then averages over it."""
        return False

    @property
    def takes_pixels(self) -> bool:
        """Whether rows are whole grey levels, uint8, because it dequantises them."""
        return False

    @property
    def takes_float64(self) -> bool:
        """Whether rows in float64 go in as they are, because its preprocessing brings them to the model's precision."""
        return False

    @property
    def reparameterised(self) -> bool:
        """Whether its draws have gradients, which those of discrete values have not."""
        return True

    @property
    def schema(self) -> Schema | None:
        """Of the table whose rows it takes, in which NaN stands for a missing value; None where they are numbers."""
        return None

    @property
    @final
    def takes_blanks(self) -> bool:
        """Whether NaN stands for a missing value."""
        return self.schema is not None

    @property
    def encodes_context(self) -> bool:
        """Whether the context is columns of a table, float64 and NaN where blank, which it encodes itself."""
        return False

    @property
    def support(self) -> Constraint:
        """Where its density may be positive, as far as is known: elsewhere log_prob is -inf. Else all real numbers."""
        return of_events(REAL, self.event_shape)

    @property
    def elementary(self) -> bool:
        """Whether it is built on no other density, as an elementary base is."""
        return True

    @property
    def preprocessing(self) -> Transform:
        """The transform between rows and their `density`: the identity, but for a flow over another density."""
        return Identity()

    @property
    def density(self) -> Distribution:
        """The density of preprocessed rows, at which likelihoods are accounted for."""
        return self

    @final
    def log_prob(self, x: Values, context: Values | None = None) -> Tensor:
        """The log density of rows; where the distribution is not `exact`, one random sample of a lower bound.

        Args:
            x: rows (N, *event), or one row (*event).
            context: (N, C, ...), a row for each row of x, or one row for all; None where no part uses one.

        Returns:
            log p(x | context), (N,), in nats.

        Raises:
            ValueError: where rows or context do not fit.
        """
        return self._log_prob(*self._fitting(x, context))

    @final
    @torch.no_grad()
    def sample(self, num_samples: SupportsIndex, context: Values | None = None) -> Tensor:
        """Independent samples, without gradients; a RuntimeWarning counts those that are not finite.

        Args:
            num_samples: number of samples N.
            context: (N, C, ...), a row for each sample, or one row for all; None where no part uses one.

        Returns:
            The samples, (N, *event).

        Raises:
            ValueError: where num_samples is negative, or the context does not fit.
        """
        x = self._sample(*self._fitting_request(num_samples, context))
        warn_of_diverged(x, 4, blanks=self.takes_blanks)
        return x

    @final
    def sample_and_log_prob(self, num_samples: SupportsIndex, context: Values | None = None) -> tuple[Tensor, Tensor]:
        """Reparameterised samples and their log density, with gradients where the distribution is `reparameterised`.

        Args:
            num_samples: number of samples N.
            context: (N, C, ...), a row for each sample, or one row for all; None where no part uses one.

        Returns:
            The samples x, (N, *event), and log p(x | context), (N,), in nats.

        Raises:
            ValueError: where it is not `exact`, it comes from elsewhere, or an argument does not fit.
        """
        if not self.exact:
            raise self._not_reparameterised()
        return self._sample_and_log_prob(*self._fitting_request(num_samples, context))

    @final
    @torch.no_grad()
    def sample_and_flag(self, num_samples: SupportsIndex, context: Values | None = None) -> tuple[Tensor, Tensor]:
        """Independent samples as of `sample`, and which of them not to trust.

        Flagged are samples that hold a value that is not finite and, where a flow maps noise to samples, those whose
        round trip misses the noise by more than 1e-3: they are out of the range in which the flow can be inverted in
        this precision.

        Args:
            num_samples: number of samples N.
            context: (N, C, ...), a row for each sample, or one row for all; None where no part uses one.

        Returns:
            The samples (N, *event), and a mask (N,), True at those not to trust.

        Raises:
            ValueError: where num_samples is negative, or the context does not fit.
        """
        return self._sample_and_flag(*self._fitting_request(num_samples, context))

    @final
    def sample_each(self, num_samples: SupportsIndex, context: Values) -> Tensor:
        """Several independent samples for each row of a context.

        Args:
            num_samples: number of samples K for each row.
            context: (M, C, ...).

        Returns:
            The samples, (M, K, *event).

        Raises:
            ValueError: where there is no context, it does not fit, or num_samples is negative.
        """
        number = require_num_samples(num_samples)
        contexts = self._fitting_context(context, None, None)
        if contexts is None:
            raise ValueError("sample_each draws for each row of a context; got none: use sample(num_samples)")
        samples = self.sample(contexts.shape[0] * number, contexts.repeat_interleave(number, 0))
        return samples.unflatten(0, (contexts.shape[0], number))

    @final
    def noise(self, x: Values, context: Values | None = None) -> Sites[Tensor]:
        """The sites at which `log_prob` draws noise, one after the other; an exact density has none.

        Args:
            x: rows (N, *event), or one row (*event).
            context: (N, C, ...), a row for each row of x, or one row for all; None where no part uses one.

        Returns:
            A generator of sites. It is sent the noise eps of each before the next, and returns log p(x, eps), (N,).

        Raises:
            ValueError: where rows or context do not fit.

        Examples:
            >>> from marginflow import models
            >>> from marginflow.distributions import Marginalising, StandardNormal
            >>> site = next(Marginalising(models.planar(5), StandardNormal(3)).noise([[0.0, 1.0]]))
            >>> site.shape
            torch.Size([1, 3])
        """
        return self._noise(*self._fitting(x, context))

    @final
    @torch.no_grad()
    def sample_with_noise(
        self, num_samples: SupportsIndex, context: Values | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Independent samples, each with the noise that it was made of: an exact draw from p(eps | x).

        Args:
            num_samples: number of samples N.
            context: as of `sample`.

        Returns:
            The samples, (N, *event), and eps, (N, *noise), of each site of `noise`.
        """
        return self._sample_with_noise(*self._fitting_request(num_samples, context))

    @final
    def log_weight(self, x: Values, eps: Sequence[Values], context: Values | None = None) -> tuple[Tensor, Tensor]:
        """The two terms of the log importance weight at given noise, with gradients.

        `log_prob` is their difference log p(x, eps) - log q(eps | x) at random noise.

        Args:
            x: rows (N, *event), or one row (*event).
            eps: noise (N, *noise), a tensor for each site of `noise`.
            context: (N, C, ...), a row for each row of x, or one row for all; None where no part uses one.

        Returns:
            log p(x, eps) and log q(eps | x), each (N,), in nats.

        Raises:
            ValueError: where rows, noise or context do not fit.
        """
        if not isinstance(eps, list | tuple):
            raise ValueError(f"eps must be a list, with noise for each site; got {shown(eps)}: give [eps]")
        like = like_of(self)
        return at_given(self.noise(x, context), [to_like(as_tensor(each, "eps"), like) for each in eps])

    @final
    def forward(self, x: Values, context: Values | None = None) -> Tensor:
        """The same as `log_prob`, for a model that is called as a module.

        Args:
            x: rows (N, *event), or one row (*event).
            context: (N, C, ...), a row for each row of x, or one row for all; None where no part uses one.

        Returns:
            log p(x | context), (N,), in nats.
        """
        return self.log_prob(x, context)

    def _fitting(self, x: Values, context: Values | None) -> tuple[Tensor, Tensor | None]:
        """Rows and context as the model takes them; checked are shapes, types, and where digits are lost values."""
        like = like_of(self)
        x = by_name(x, () if self.spec is None else self.spec.columns, 3)
        x = as_rows(x, self.event_shape, pixels=self.takes_pixels, dtype=torch.float64 if like is not None else None)
        self._warn_of_lost_digits(x, like, 5)
        return self._in_precision(x, like), self._fitting_context(context, x.shape[0], like)

    def _in_precision(self, x: Tensor, like: Tensor | None) -> Tensor:
        """Rows on the device and in the precision of the model; in float64 where it takes that."""
        return to_like(x, like, wide=self.takes_float64)

    def _warn_of_lost_digits(self, x: Tensor, like: Tensor | None, stacklevel: int, names: Sequence[str] = ()) -> None:
        """Warn of rows in float64 that the model's precision cannot hold."""
        if like is None or self.takes_float64 or x.dtype != torch.float64:
            return
        features = x.shape[1]
        remedy = f"Flow([Standardise({features})], base=model) keeps them, and so does model.double()"
        warn_of_lost_digits(x, like.dtype, remedy, names=names, stacklevel=stacklevel + 1)

    def _fitting_request(self, num_samples: SupportsIndex, context: Values | None) -> tuple[int, Tensor | None]:
        """A number of samples, and the context of each."""
        number = require_num_samples(num_samples)
        return number, self._fitting_context(context, number, like_of(self))

    def _fitting_context(self, context: Values | None, num_rows: int | None, like: Tensor | None) -> Tensor | None:
        """A context, or labels, in shape, and in the precision and on the device of `like`."""
        dtype = None if like is None else torch.float64
        names = () if context is None else self._label_names
        if names and context is not None:
            context = as_one_hot(context, names, num_rows)
        given = as_context(context, self.context_features, num_rows, optional=self.context_optional, dtype=dtype)
        if given is not None and self.context_optional:
            require_one_hot(given, names)
        if given is not None and like is not None and not self.encodes_context:
            remedy = "subtract an offset from it, or use model.double()"
            warn_of_lost_digits(given, like.dtype, remedy, what="the context", stacklevel=5)
        return None if given is None else to_like(given, like, wide=self.encodes_context)

    @property
    def _label_names(self) -> Sequence[str]:
        """The names of the classes where the context is a label; empty where it is something else."""
        width = self.context_features
        if self.spec is not None and width and len(self.spec.labels) == width:
            return self.spec.labels
        return [str(number) for number in range(width)] if self.context_optional else ()

    @abstractmethod
    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        """log p(x | context), or one random sample of its bound; noise is drawn in the order of `_noise`."""

    @abstractmethod
    def _sample(self, num_samples: int, context: Tensor | None) -> Tensor:
        """Independent samples; called without gradients."""

    def _sample_and_log_prob(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Reparameterised samples and their log_prob; ValueError where there are none."""
        raise self._not_reparameterised()

    def _not_reparameterised(self) -> ValueError:
        return ValueError(
            f"{type(self).__name__} has no reparameterised draws with an exact log_prob, as its noise is drawn or it "
            "comes from elsewhere: use sample, and log_likelihood"
        )

    def _sample_and_bound(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Reparameterised samples, and what is on average at least their log_prob: itself where it is exact."""
        return self._sample_and_log_prob(num_samples, context)

    def _sample_and_flag(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The samples of `_sample`, and which of them not to trust; called without gradients."""
        x = self._sample(num_samples, context)
        return x, not_finite(x, blanks=self.takes_blanks)

    def _noise(self, x: Tensor, context: Tensor | None) -> Sites[Tensor]:
        """The sites at which `_log_prob` draws noise; returns log p(x, eps)."""
        yield from ()
        return self._log_prob(x, context)

    def _sample_with_noise(self, num_samples: int, context: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The samples of `_sample`, and the noise of each site of `_noise`; called without gradients."""
        return self._sample(num_samples, context), []

    def unwrap(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, Tensor, Tensor | None]:
        """The density inside this one, with rows and context as that one takes them; itself where there is none.

        Where noise or a label is appended it is drawn once, from torch's global generator.

        Args:
            x: rows (N, *event) that fit the model.
            context: (N, C, ...), a row for each row of x; None where there is none.

        Returns:
            The inner density, its rows and its context.
        """
        return self, x, context

    def with_base(self, change: Callable[[Density], Distribution]) -> Distribution:
        """The model with another base, sharing its weights.

        Args:
            change: called with the base, or with this distribution where it has none; returns the new one.

        Returns:
            A distribution of the same weights over the new base.
        """
        return change(self)
