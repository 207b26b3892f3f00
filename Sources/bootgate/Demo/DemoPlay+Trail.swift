/// What the stores and the journal say afterwards.
extension DemoPlay {
    /// The states of both keys, from the credential store.
    func compareKeys(old: Credential, new: Credential) async throws {
        let credentials = try await self.run(["credentials", "list", "--iccid", DemoStage.iccid, "--json"])
            .compactMap(DemoEvent.init(fields:))
        self.say("")
        for (name, key, state) in [("key before", old, "replaced"), ("key now", new, "active")] {
            let found = credentials.first { $0.text("key") == key.fingerprint }?.text("state") ?? "unknown"
            self.say(name, "\(key.fingerprint) of \(DemoStory.short(key.identity))", found)
            guard found == state else {
                throw DemoError("the \(name), \(key.fingerprint), should be \(state), and is \(found)")
            }
        }
    }

    /// The records about the SIM in short, and whether the journal is intact. All that happened has to be in it.
    func showTrail(old: Credential, new: Credential) async throws {
        let trail = try await self.run(["audit", "show", DemoStage.iccid, "--json"]).compactMap { DemoEvent($0) }
        var table = Table(["TIME", "EVENT", "WHAT"])
        for record in trail { table.add([record.time, record.name, Self.summary(of: record)]) }
        self.say(DemoStory.indented(table.text))

        let expected = [
            ("credential.minted", old), ("credential.active", old), ("credential.minted", new),
            ("credential.active", new), ("credential.replaced", old),
        ]
        for (name, key) in expected
        where !trail.contains(where: { $0.name == name && $0.object("detail")?.text("key") == key.fingerprint }) {
            throw DemoError("the journal has no \(name) of the key \(key.fingerprint)")
        }
        for (name, count) in ["bootstrap.finished": 2, "registration.opened": 2, "registration.refused": 1] {
            let found = trail.count { $0.name == name }
            guard found == count else { throw DemoError("the journal has \(name) \(found) times, not \(count)") }
        }
        let proof = try await self.run(["audit", "verify", "--json"]).compactMap(DemoEvent.init(fields:)).last
        guard let proof, proof.boolean("intact"), let records = proof.integer("records") else {
            throw DemoError("the journal is not intact")
        }
        self.say("\n   bootgate audit verify: \(records) records, chained and signed, none changed")
    }

    private static func summary(of record: DemoEvent) -> String {
        var parts: [String] = []
        if let cause = record.text("cause") { parts.append(cause) }
        guard let detail = record.object("detail") else { return parts.joined() }
        if let action = detail.text("action") { parts.append(action) }
        if let before = detail.object("before"), let after = detail.object("after") {
            parts.append("\(self.account(before)) → \(self.account(after))")
        }
        if let key = detail.text("key") { parts.append("key \(key)") }
        if let reason = detail.text("reason") { parts.append("by \(reason)") }
        return parts.joined(separator: ", ")
    }

    private static func account(_ account: DemoEvent) -> String {
        let key = account.text("key").map { " \($0)" } ?? ""
        return "\(account.text("uri") ?? "?") \(account.text("security") ?? "?")\(key)"
    }
}
