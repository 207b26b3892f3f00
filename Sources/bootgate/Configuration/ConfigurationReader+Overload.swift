internal import Gateway

extension ConfigurationReader {
    /// `limits.overload`: up to three rising thresholds for each measure, those of level 1, 2 and 3.
    func overload(_ node: ConfigurationNode) -> GatewayConfiguration.OverloadPolicy? {
        guard let fields = node.mapping() else { return nil }
        var policy = GatewayConfiguration.OverloadPolicy()
        policy.halfOpen = fields.read("half-open", self.shares) ?? policy.halfOpen
        policy.sessions = fields.read("sessions", self.shares) ?? policy.sessions
        policy.queue = fields.read("queue", self.shares) ?? policy.queue
        policy.receive = fields.read("receive", self.shares) ?? policy.receive
        policy.memory = fields.read("memory", self.shares) ?? policy.memory
        policy.lag =
            fields.read("lag") { field in
                self.thresholds(field, "durations such as [ 250ms, 1s, 2s ]") {
                    $0.duration(atLeast: .milliseconds(10))
                }
            } ?? policy.lag
        policy.hold =
            fields.read("hold") { $0.duration(atLeast: .milliseconds(100), atMost: .seconds(300)) } ?? policy.hold
        fields.finish()
        return policy
    }

    private func shares(_ node: ConfigurationNode) -> [Int]? {
        self.thresholds(node, "percentages such as [ 50%, 75%, 90% ]") { $0.percent() }
    }

    private func thresholds<T: Comparable>(
        _ node: ConfigurationNode, _ expected: String, _ read: (ConfigurationNode) -> T?
    ) -> [T]? {
        guard let values = node.list("a list of up to three \(expected)", read) else { return nil }
        if values.count > 3 {
            node.mistake("\(node.path) has \(values.count) thresholds; there are three levels, so write up to three")
        } else if zip(values, values.dropFirst()).contains(where: { $0 >= $1 }) {
            node.mistake("\(node.path) does not rise; each level needs a higher threshold than the one before")
        }
        return values
    }
}

extension ConfigurationNode {
    /// `75%`, from 1% to 100%.
    fileprivate func percent() -> Int? {
        let expected = "a percentage from 1% to 100%"
        guard let text = self.text(expected) else { return nil }
        guard text.hasSuffix("%"), text.dropLast().utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = Int(text.dropLast()), (1...100).contains(number)
        else {
            self.mistake("\(self.path) is '\(Self.shown(text))'; expected \(expected)")
            return nil
        }
        return number
    }
}
