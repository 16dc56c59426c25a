"""The network in torch, and the device it runs on."""
