/// How the types of LwM2M stand in the value bytes of a TLV record (spec 3.2).
package enum ResourceType: String, Sendable {
    case string = "a UTF-8 string"
    /// Signed, 1, 2, 4 or 8 bytes.
    case integer = "an integer of 1, 2, 4 or 8 bytes"
    /// Unsigned, 1, 2, 4 or 8 bytes; some servers pad it as if it were signed.
    case unsigned = "an unsigned integer of 1, 2, 4 or 8 bytes"
    /// Seconds since 1970, as an integer.
    case time = "a time of 1, 2, 4 or 8 bytes"
    case float = "a float of 4 or 8 bytes"
    case boolean = "a boolean, one byte 00 or 01"
    case opaque = "opaque bytes"
    case objectLink = "an object link of 4 bytes"
    /// Executable: there is no value to check.
    case none = "nothing"

    /// Whether bytes can be a value of this type. Zero bytes are a string or opaque bytes and nothing else.
    func accepts(_ bytes: ArraySlice<UInt8>) -> Bool {
        switch self {
        case .string: bytes.allSatisfy { $0 < 0x80 } || String(validating: bytes, as: UTF8.self) != nil
        case .integer, .unsigned, .time: bytes.count == 1 || bytes.count == 2 || bytes.count == 4 || bytes.count == 8
        case .float: bytes.count == 4 || bytes.count == 8
        case .boolean: bytes.count == 1 && (bytes.first == 0 || bytes.first == 1)
        case .objectLink: bytes.count == 4
        case .opaque, .none: true
        }
    }
}

/// Values as TLV spells them. Readers give nil when the bytes are no value of the type.
package enum ResourceValue {
    package static func string(_ bytes: [UInt8]) -> String? {
        // ASCII, which is the rule, needs no validation.
        bytes.allSatisfy { $0 < 0x80 }
            ? String(decoding: bytes, as: UTF8.self) : String(validating: bytes, as: UTF8.self)
    }

    package static func integer(_ bytes: [UInt8]) -> Int64? {
        guard let first = bytes.first, ResourceType.integer.accepts(bytes[...]) else { return nil }
        let sign: UInt64 = first & 0x80 == 0 ? 0 : .max
        return Int64(bitPattern: bytes.reduce(sign) { $0 << 8 | UInt64($1) })
    }

    package static func unsigned(_ bytes: [UInt8]) -> UInt64? {
        guard ResourceType.unsigned.accepts(bytes[...]) else { return nil }
        return bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }

    package static func boolean(_ bytes: [UInt8]) -> Bool? {
        ResourceType.boolean.accepts(bytes[...]) ? bytes == [1] : nil
    }

    package static func objectLink(_ bytes: [UInt8]) -> ObjectLink? {
        guard bytes.count == 4 else { return nil }
        return ObjectLink(
            objectID: UInt16(bytes[0]) << 8 | UInt16(bytes[1]),
            instanceID: UInt16(bytes[2]) << 8 | UInt16(bytes[3])
        )
    }

    /// The shortest of 1, 2, 4 and 8 bytes in two's complement.
    package static func bytes(_ integer: Int64) -> [UInt8] {
        if let short = Int8(exactly: integer) { return [UInt8(bitPattern: short)] }
        if let short = Int16(exactly: integer) { return Self.bigEndian(short) }
        if let short = Int32(exactly: integer) { return Self.bigEndian(short) }
        return Self.bigEndian(integer)
    }

    /// The shortest of 1, 2, 4 and 8 bytes without sign.
    package static func bytes(unsigned value: UInt64) -> [UInt8] {
        if let short = UInt8(exactly: value) { return [short] }
        if let short = UInt16(exactly: value) { return Self.bigEndian(short) }
        if let short = UInt32(exactly: value) { return Self.bigEndian(short) }
        return Self.bigEndian(value)
    }

    package static func bytes(_ boolean: Bool) -> [UInt8] { [boolean ? 1 : 0] }

    package static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    package static func bytes(_ link: ObjectLink) -> [UInt8] {
        Self.bigEndian(link.objectID) + Self.bigEndian(link.instanceID)
    }

    private static func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }
}

/// A reference to an instance of an object.
package struct ObjectLink: Hashable, Sendable {
    package var objectID: UInt16
    package var instanceID: UInt16

    package init(objectID: UInt16, instanceID: UInt16) {
        self.objectID = objectID
        self.instanceID = instanceID
    }

    /// 65535:65535 refers to nothing.
    package var isNull: Bool { self.objectID == .max && self.instanceID == .max }
}

extension ObjectLink: CustomStringConvertible {
    package var description: String { "\(self.objectID):\(self.instanceID)" }
}
