/// The TLV format of LwM2M (content format 11542; spec 3.2).
package enum TLV {
    /// The largest payload that is looked at, in bytes (T46).
    package static let maximumSize = 65_536
    /// The most records in one payload, on all levels together (T46).
    package static let maximumRecords = 1000
    /// The longest value that a length field of 24 bits can announce.
    package static let maximumLength = 0xFF_FFFF

    /// Bits 7 and 6 of the type byte.
    enum Kind: UInt8 {
        case objectInstance = 0b00
        case resourceInstance = 0b01
        case multipleResource = 0b10
        case resource = 0b11
    }
}

/// Why a payload is not TLV for its path, or a tree has no TLV form. It holds no value bytes.
package struct TLVError: Error, Hashable, Sendable {
    package enum Reason: Hashable, Sendable {
        /// TLV is for an object, an instance or a resource: neither the root nor a resource instance.
        case unsupportedLevel
        case tooLarge
        case tooManyRecords
        /// The payload ends inside the header of a record.
        case truncated
        /// A record is longer than what encloses it.
        case overrun
        /// A record of a kind that may not stand here, such as a bare resource in a payload for an object.
        case misplacedRecord
        /// The wrapper names another instance than the path, or stands beside other records.
        case conflictingInstance
        /// The payload for a resource is not that one resource.
        case conflictingResource
        case duplicateIdentifier(UInt16)
        /// Resource `id` of a known object holds something else than `expected`.
        case wrongType(id: UInt16, expected: ResourceType)
        /// Resource `id` of a known object is single and was written as multiple, or the reverse.
        case wrongMultiplicity(id: UInt16)
        /// A value longer than 24 bits can count.
        case valueTooLong
        /// Resource `id` is unknown and stands as another format spelled it.
        case foreignSpelling(id: UInt16)
    }

    package let reason: Reason
    /// Where in the payload, counted from 0: the first byte of the record at fault.
    package let offset: Int

    init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }
}

extension TLVError: CustomStringConvertible {
    package var description: String { "\(self.reason.text) (byte \(self.offset))" }
}

extension TLVError.Reason {
    fileprivate var text: String {
        switch self {
        case .unsupportedLevel: "TLV can be written to an object, an instance or a resource only"
        case .tooLarge: "the payload is larger than \(TLV.maximumSize) bytes"
        case .tooManyRecords: "the payload has more than \(TLV.maximumRecords) records"
        case .truncated: "the payload ends inside a record's header"
        case .overrun: "a record is longer than what encloses it"
        case .misplacedRecord: "a record of this kind cannot stand at this level"
        case .conflictingInstance: "the object instance record does not fit the path"
        case .conflictingResource: "the payload must be exactly the resource that the path names"
        case .duplicateIdentifier(let id): "identifier \(id) occurs twice"
        case .wrongType(let id, let expected): "resource \(id) must be \(expected.rawValue)"
        case .wrongMultiplicity(let id): "resource \(id) is single where several are due, or several where one is"
        case .foreignSpelling(let id): "resource \(id) is unknown and has no TLV form"
        case .valueTooLong: "a value is longer than \(TLV.maximumLength) bytes"
        }
    }
}
