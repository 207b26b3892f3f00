internal import Yams

/// Reads the keys of one mapping. The keys that were asked for are the known ones: ``finish()`` complains of all others.
final class MappingReader {
    let owner: ConfigurationNode
    private let values: [String: ConfigurationNode]
    private let keys: [ConfigurationNode]
    private var known: [String] = []

    /// Nil, after a complaint, when the value is no mapping with text keys.
    init?(_ owner: ConfigurationNode, _ expected: String) {
        guard case .mapping(let mapping) = owner.node else {
            owner.mismatch(expected)
            return nil
        }
        self.owner = owner
        var values: [String: ConfigurationNode] = [:]
        var keys: [ConfigurationNode] = []
        for (key, value) in mapping {
            let keyNode = ConfigurationNode(node: key, path: owner.path, context: owner.context)
            guard owner.context.collector.visit(at: keyNode.position) else { return nil }
            guard let name = key.scalar?.string else {
                keyNode.mistake("a key is not a text; expected a name")
                continue
            }
            guard values[name] == nil else {
                keyNode.mistake(
                    "'\(ConfigurationNode.shown(name))' is given more than once in one mapping; keep one of them")
                continue
            }
            keys.append(keyNode)
            values[name] = ConfigurationNode(
                node: value,
                path: owner.path.isEmpty ? name : "\(owner.path).\(name)",
                context: owner.context
            )
        }
        self.values = values
        self.keys = keys
    }

    /// The names in the order of the file, for mappings whose keys are the operator's own.
    var names: [(name: String, key: ConfigurationNode, value: ConfigurationNode)] {
        self.keys.compactMap { key in
            guard let name = key.node.scalar?.string, let value = self.values[name] else { return nil }
            return (name, key, value)
        }
    }

    /// The value of a key, or nil when the file leaves it out.
    func node(_ key: String) -> ConfigurationNode? {
        self.known.append(key)
        return self.values[key]
    }

    /// Reads a key if it is there.
    @discardableResult
    func read<T>(_ key: String, _ body: (ConfigurationNode) -> T?) -> T? {
        self.node(key).flatMap(body)
    }

    /// Reads a key that must be there; `hint` says what to write.
    func require<T>(_ key: String, _ hint: String, _ body: (ConfigurationNode) -> T?) -> T? {
        if let node = self.node(key) { return body(node) }
        let name = self.owner.path.isEmpty ? key : "\(self.owner.path).\(key)"
        // A mistyped key is complained of as unknown; both lines together say what happened.
        self.owner.mistake("\(name) is missing; \(hint)")
        return nil
    }

    /// Says which keys nobody asked for.
    func finish() {
        for (name, key, value) in self.names where !self.known.contains(name) {
            let nearest =
                NearestName.of(name, among: self.known).map { "did you mean '\($0)'?" }
                ?? "known here: \(self.known.sorted().joined(separator: ", "))"
            key.mistake("unknown key \(ConfigurationNode.shown(value.path)); \(nearest)")
        }
    }
}
