// The stores behind the gateway.
