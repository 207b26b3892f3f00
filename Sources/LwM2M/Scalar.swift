/// One value as a document with types states it, between that document and TLV's spelling.
enum Scalar: Hashable {
    case unsigned(UInt64)
    case negative(Int64)
    /// A number with a fraction, or one beyond 64 bits that its document writes with an exponent.
    case fraction
    case boolean(Bool)
    /// UTF-8; the reader has checked it.
    case text([UInt8])
    case opaque([UInt8])
    /// Text of the form `object:instance`, in a field that holds nothing else.
    case link([UInt8])

    var kind: ValueSpelling.Kind {
        switch self {
        case .unsigned, .negative, .fraction: .number
        case .boolean: .boolean
        case .text: .string
        case .opaque: .opaque
        case .link: .objectLink
        }
    }
}

extension Scalar {
    /// The value bytes of a resource of this type as TLV spells them; nil when the value is of another type or out of range.
    func bytes(as type: ResourceType) -> [UInt8]? {
        switch (type, self) {
        case (.string, .text(let text)): text
        case (.integer, .unsigned(let number)), (.time, .unsigned(let number)):
            Int64(exactly: number).map { ResourceValue.bytes($0) }
        case (.integer, .negative(let number)), (.time, .negative(let number)): ResourceValue.bytes(number)
        case (.unsigned, .unsigned(let number)): ResourceValue.bytes(unsigned: number)
        case (.boolean, .boolean(let value)): ResourceValue.bytes(value)
        case (.opaque, .opaque(let bytes)): bytes
        case (.objectLink, .link(let text)), (.objectLink, .text(let text)):
            ObjectLink(text: text).map { ResourceValue.bytes($0) }
        default: nil
        }
    }

    /// The value of a resource of this type from TLV's spelling; nil when the bytes are no such value, or the type has none.
    init?(_ bytes: [UInt8], as type: ResourceType) {
        switch type {
        case .string:
            guard type.accepts(bytes[...]) else { return nil }
            self = .text(bytes)
        case .integer, .time:
            guard let number = ResourceValue.integer(bytes) else { return nil }
            self = UInt64(exactly: number).map { .unsigned($0) } ?? .negative(number)
        case .unsigned:
            guard let number = ResourceValue.unsigned(bytes) else { return nil }
            self = .unsigned(number)
        case .boolean:
            guard let value = ResourceValue.boolean(bytes) else { return nil }
            self = .boolean(value)
        case .opaque: self = .opaque(bytes)
        case .objectLink:
            guard let link = ResourceValue.objectLink(bytes) else { return nil }
            self = .link(Array(link.description.utf8))
        case .float, .none: return nil
        }
    }
}

extension ObjectLink {
    /// `object:instance`, each in its one decimal spelling.
    init?(text: some Collection<UInt8>) {
        let parts = text.split(separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count == 2, let object = LwM2MPath.identifier(parts[0]),
            let instance = LwM2MPath.identifier(parts[1])
        else { return nil }
        self.init(objectID: object, instanceID: instance)
    }
}

extension ObjectDefinition {
    /// The type that values of a resource are taken into TLV's spelling by; nil when they stay as they stand. None of the
    /// known objects has a float.
    func convertibleType(_ resource: UInt16) -> ResourceType? {
        guard let type = self[resource]?.type, type != .none, type != .float else { return nil }
        return type
    }
}
