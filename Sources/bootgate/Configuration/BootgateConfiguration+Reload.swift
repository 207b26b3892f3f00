internal import Gateway

extension BootgateConfiguration {
    /// What differs in `new`, as the file names it, and how much of it needs a restart.
    package func changes(to new: BootgateConfiguration) -> (all: [String], needsRestart: [String]) {
        var all = ReloadPlan(from: self.gateway, to: new.gateway).changes
        var fixed: [String] = []
        func note(_ name: String, _ isEqual: Bool, needsRestart: Bool = false) {
            guard !isEqual else { return }
            if !all.contains(name) { all.append(name) }
            if needsRestart { fixed.append(name) }
        }
        // Who was let through without a record, or without a bootstrap, has a session that enforce knows nothing of.
        let isSameMode = self.gateway.mode.isAudit == new.gateway.mode.isAudit
        note("mode", isSameMode, needsRestart: true)
        note("audit.keep-devices", self.gateway.mode == new.gateway.mode || !isSameMode)
        note("state", self.state == new.state, needsRestart: true)
        note("records.key", self.records.key == new.records.key, needsRestart: true)
        // Stored records were checked for being unique under these.
        note("records.identity", self.records.identityPattern == new.records.identityPattern, needsRestart: true)
        note("records.endpoint", self.records.endpointPattern == new.records.endpointPattern, needsRestart: true)
        for name in Set(self.publications.keys).union(new.publications.keys).sorted() {
            note("servers.\(name)", self.publications[name] == new.publications[name])
        }
        note("audit.signing-key", self.audit.signingKey == new.audit.signingKey, needsRestart: true)
        note("audit.syslog", self.audit.syslog == new.audit.syslog, needsRestart: true)
        note("audit.keep", self.audit.keep == new.audit.keep)
        note(
            "audit.checkpoint",
            self.audit.checkpointEvery == new.audit.checkpointEvery
                && self.audit.checkpointRecords == new.audit.checkpointRecords)
        note("admin.listen", self.admin.address == new.admin.address, needsRestart: true)
        note("admin.metrics", self.admin.metricsAreOpen == new.admin.metricsAreOpen)
        note("admin.tokens", self.admin.tokens == new.admin.tokens)
        note("log", self.log == new.log)
        return (all, fixed)
    }
}
