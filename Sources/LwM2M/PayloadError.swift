/// Why a payload is no document of its format for its path, or content has no form in a format. It holds no value.
package struct PayloadError: Error, Hashable, Sendable {
    package enum Reason: Hashable, Sendable {
        /// Not a format of this list, or one that cannot stand for a whole pack.
        case unsupportedFormat
        /// The path is of a level that the format has no document for, or the content belongs to another path.
        case unsupportedLevel
        case tlv(TLVError)

        // MARK: The document as such

        case tooLarge
        case tooManyRecords
        case tooManyItems
        case tooDeep
        case truncated
        case trailingBytes
        /// Not JSON, CBOR or UTF-8 by their grammar.
        case malformed
        /// Well formed, but not of the shape that the format demands.
        case wrongShape
        /// A number that does not fit into 64 bits, or a CBOR tag that means nothing here.
        case unsupportedNumber

        // MARK: Its records

        case duplicateField
        /// A field that changes the meaning and is not supported: base values, sums, fields that must be understood.
        case unsupportedField
        /// Not exactly one value.
        case notOneValue
        /// The value field and its value are of different types.
        case wrongField
        /// A name or key that is no path to a resource in its one spelling.
        case badName
        case outsidePath
        /// The payload for a resource does not hold that resource.
        case missingResource
        /// The same resource twice, or once as single and once with several values.
        case duplicatePath(LwM2MPath)
        case wrongType(LwM2MPath, expected: ResourceType)
        case wrongMultiplicity(LwM2MPath)

        // MARK: Content to be encoded

        /// The gateway does not know the type of the resource, and its value comes from another format.
        case unknownType(LwM2MPath)
        /// An instance without resources or a resource without values, which the format cannot say.
        case noForm(LwM2MPath)
    }

    package let reason: Reason
    /// Where in the payload, counted from 0; nil for content to be encoded.
    package let offset: Int?

    init(_ reason: Reason, at offset: Int? = nil) {
        self.reason = reason
        self.offset = offset
    }
}

extension PayloadError: CustomStringConvertible {
    package var description: String {
        if case .tlv(let error) = self.reason { return error.description }
        return self.reason.text + (self.offset.map { " (byte \($0))" } ?? "")
    }
}

extension PayloadError.Reason {
    fileprivate var text: String {
        switch self {
        case .unsupportedFormat: "the content format cannot be read or written here"
        case .unsupportedLevel: "the content format has no document for a path of this level"
        case .tlv(let error): error.description
        case .tooLarge: "the payload is larger than \(PayloadCodec.maximumSize) bytes"
        case .tooManyRecords: "the payload has more than \(PayloadCodec.maximumRecords) values"
        case .tooManyItems: "the payload has more than \(PayloadCodec.maximumItems) data items"
        case .tooDeep: "the payload is nested deeper than \(PayloadCodec.maximumDepth) levels"
        case .truncated: "the payload ends too early"
        case .trailingBytes: "something follows the end of the document"
        case .malformed: "the payload is not well formed"
        case .wrongShape: "the document is not of the shape that its format has"
        case .unsupportedNumber: "a number has more than 64 bits or an unknown tag"
        case .duplicateField: "a field occurs twice in one record"
        case .unsupportedField: "a field is used that is not supported"
        case .notOneValue: "a record must have exactly one value"
        case .wrongField: "a value is not of the type of its field"
        case .badName: "a name is not the path of a resource"
        case .outsidePath: "a record lies outside the path of the request"
        case .missingResource: "the payload must be the resource that the path names"
        case .duplicatePath(let path): "\(path) occurs twice"
        case .wrongType(let path, let expected): "\(path) must be \(expected.meaning)"
        case .wrongMultiplicity(let path): "\(path) is single where several are due, or several where one is"
        case .unknownType(let path): "the type of \(path) is unknown, and the format needs it"
        case .noForm(let path): "\(path) is empty, and the format cannot say so"
        }
    }
}

extension ResourceType {
    /// Without the sizes that only TLV has.
    fileprivate var meaning: String {
        switch self {
        case .integer: "an integer of at most 64 bits"
        case .unsigned: "an unsigned integer of at most 64 bits"
        case .time: "a time in whole seconds"
        case .float: "a number"
        case .boolean: "a boolean"
        case .objectLink: "an object link"
        case .string, .opaque, .none: self.rawValue
        }
    }
}
