/// One instance of an object with its resources, in the order in which they were written.
///
/// The tree keeps value bytes as they came. Those of resources in ``ObjectDefinition`` are spelled as TLV does whatever the
/// format was; see ``ValueSpelling`` for the others. They may be keys, so no type of the tree prints them: descriptions and dumps
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
    /// How the bytes of a single value are spelled; nil as TLV spells them. Values of several have their own.
    package var spelling: ValueSpelling?

    package init(id: UInt16, value: Value, spelling: ValueSpelling? = nil) {
        self.id = id
        self.value = value
        self.spelling = spelling
    }
}

/// One of the values of a resource that may have several.
package struct ResourceInstance: Hashable, Sendable {
    package var id: UInt16
    package var bytes: [UInt8]
    /// How the bytes are spelled; nil as TLV spells them.
    package var spelling: ValueSpelling?

    package init(id: UInt16, bytes: [UInt8], spelling: ValueSpelling? = nil) {
        self.id = id
        self.bytes = bytes
        self.spelling = spelling
    }
}

/// Says that a value stands as its document spelled it, with the type that it had there.
///
/// The gateway takes values of resources that it knows into TLV's spelling, whatever the format, so that one set of readers
/// does. Of all others it knows neither type nor meaning: they go on in the same format, letter for letter.
package struct ValueSpelling: Hashable, Sendable {
    /// Which of a document's value fields held it.
    package enum Kind: Hashable, Sendable {
        case number, string, boolean, opaque, objectLink
    }

    /// Under its registered number. The value has a form in this format only.
    package let format: ContentFormat
    package let kind: Kind
}

/// One object with instances of it, as a document for the root holds several.
package struct ObjectContent: Hashable, Sendable {
    package var id: UInt16
    package var instances: [ObjectInstance]

    package init(id: UInt16, instances: [ObjectInstance]) {
        self.id = id
        self.instances = instances
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

extension ObjectContent: CustomStringConvertible, CustomReflectable {
    package var description: String {
        "\(self.id): {" + self.instances.map(\.description).joined(separator: ", ") + "}"
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
