/// The difference between the configuration that runs and one that is to take its place: for the log and the journal, and
/// for what cannot be changed while the gateway runs.
///
/// A value that decides nothing else: everything that it names without an obstacle is swapped in one turn of the loop.
package struct ReloadPlan: Sendable, Equatable {
    /// What differs, as the file names it: `servers.meters`, `dtls`. In the order of the file; empty: nothing differs.
    package var changes: [String] = []

    package init(from old: GatewayConfiguration, to new: GatewayConfiguration) {
        var changes: [String] = []
        func note(_ name: String, _ isEqual: Bool) { if !isEqual { changes.append(name) } }
        note("listeners", old.listeners == new.listeners)
        note("bootstrap.upstreams", old.bootstrap.upstreams == new.bootstrap.upstreams)
        note("bootstrap.account", old.bootstrap.account == new.bootstrap.account)
        let (before, after) = (Self.byName(old.servers), Self.byName(new.servers))
        for rule in new.servers { note("servers.\(rule.name)", before[rule.name] == rule) }
        for rule in old.servers where after[rule.name] == nil { note("servers.\(rule.name)", false) }
        note("unmatched", old.unmatched == new.unmatched)
        note("credentials", old.credentials == new.credentials)
        note("dtls", old.dtls == new.dtls)
        note(
            "coap.device",
            old.deviceTransmission == new.deviceTransmission && old.deviceHandshake == new.deviceHandshake)
        note("coap.upstream", old.upstreamTransmission == new.upstreamTransmission)
        note("pool", old.pool == new.pool)
        note("limits", old.limits == new.limits)
        note("drain", old.drain == new.drain)
        note("audit.durability", old.isAuditStrict == new.isAuditStrict)
        self.changes = changes
    }

    private static func byName(
        _ rules: [GatewayConfiguration.ServerRule]
    ) -> [String: GatewayConfiguration.ServerRule] {
        Dictionary(rules.map { ($0.name, $0) }) { first, _ in first }
    }
}
