internal import LwM2M

/// Makes what a server says about transports fit the one that this gateway has, UDP (T18).
enum TransportBinding {
    /// The account with binding and preferred transport that a device can follow to the gateway. Whether the device queues
    /// (`Q`) is its own matter and stays.
    static func fittedToUDP(_ account: ServerAccount) -> ServerAccount {
        var account = account
        if let binding = account.binding {
            let fitted = binding.contains("Q") ? "UQ" : "U"
            if binding != fitted { account.binding = fitted }
        }
        if let preferred = account.preferredTransport, preferred != "U" { account.preferredTransport = "U" }
        return account
    }
}
