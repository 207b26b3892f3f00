internal import Gateway

extension ConfigurationReader {
    /// `mode: audit`.
    func watch(with configuration: inout BootgateConfiguration, at file: MappingReader) {
        let keepsDevices = configuration.audit.keepsDevices
        configuration.gateway.mode = .audit(keepDevices: keepsDevices)
        guard let mode = file.node("mode"), !keepsDevices else { return }
        mode.warning(
            "mode: audit without audit.keep-devices: each device is seen once, and leaves for the server that its "
                + "bootstrap account then names"
        )
    }
}

extension GatewayConfiguration {
    /// What log-and-audit mode does and what it cannot do, a line each; empty in `enforce`.
    package var modeNotes: [String] {
        guard case .audit(let keepsDevices) = self.mode else { return [] }
        return [
            "audit: nothing is refused that can be let through, accounts pass as upstream writes them, no credential is minted",
            keepsDevices
                ? "exception: the bootstrap account leads back to this gateway, so that devices come back "
                    + "(audit.keep-devices: true)"
                : "devices get upstream's bootstrap account and leave for the server that it names (audit.keep-devices: false)",
            "exception: a device over DTLS without a record, or with another key than its record has, cannot be let "
                + "through; it is reported as not observable",
            "malformed messages and limits are enforced as ever",
            "registrations do not come here: accounts name the servers themselves",
        ]
    }
}
