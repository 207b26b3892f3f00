/// One instance of an object with its resources, in the order in which they were written.
///
/// The tree keeps value bytes as they came. They may be keys, so no type of the tree prints them: descriptions and dumps
/// show identifiers and lengths alone (T44).
package struct ObjectInstance: Hashable, Sendable {
    package var id: UInt16
    package var resources: [Resource]

    package init(id: UInt16, resources: [Resource]) {
        self.id = id
        self.resources = resources
    }
}

/// One resource: a single value, or several with an identifier each.
package struct Resource: Hashable, Sendable {
    package enum Value: Hashable, Sendable {
        case single([UInt8])
        /// Also with one entry, or none, when the resource is one that may have several.
        case multiple([ResourceInstance])
    }

    package var id: UInt16
    package var value: Value

    package init(id: UInt16, value: Value) {
        self.id = id
        self.value = value
    }
}

/// One of the values of a resource that may have several.
package struct ResourceInstance: Hashable, Sendable {
    package var id: UInt16
    package var bytes: [UInt8]

    package init(id: UInt16, bytes: [UInt8]) {
        self.id = id
        self.bytes = bytes
    }
}

/// What a payload holds, by the level of the path that it is for.
package enum PathContent: Hashable, Sendable {
    /// For `/object`: whole instances.
    case instances([ObjectInstance])
    /// For `/object/instance`.
    case instance(ObjectInstance)
    /// For `/object/instance/resource`.
    case resource(Resource)
}

extension ObjectInstance: CustomStringConvertible, CustomReflectable {
    /// `0: {0: 22 bytes, 16: [0: 2 bytes]}`.
    package var description: String {
        "\(self.id): {" + self.resources.map(\.description).joined(separator: ", ") + "}"
    }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension Resource: CustomStringConvertible, CustomReflectable {
    package var description: String { "\(self.id): \(self.value)" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension Resource.Value: CustomStringConvertible, CustomReflectable {
    package var description: String {
        switch self {
        case .single(let bytes): "\(bytes.count) bytes"
        case .multiple(let instances): "[" + instances.map(\.description).joined(separator: ", ") + "]"
        }
    }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension ResourceInstance: CustomStringConvertible, CustomReflectable {
    package var description: String { "\(self.id): \(self.bytes.count) bytes" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
