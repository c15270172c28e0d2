"""The masked network: autoregressive parameters in one pass, an inverse at about the price of one."""
