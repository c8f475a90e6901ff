"""The engines that a store may run on."""
