/// What SenML in JSON and in CBOR have in common (RFC 8428; spec 3.4).
enum SenML {
    /// The fields of a record.
    enum Label: UInt8 {
        case baseVersion, baseName, baseTime, baseUnit, baseValue, baseSum
        case name, unit, value, stringValue, booleanValue, dataValue, objectLinkValue, sum, time, updateTime
        /// Ignored.
        case unknown

        init(json name: String) {
            self =
                switch name {
                case "bver": .baseVersion
                case "bn": .baseName
                case "bt": .baseTime
                case "bu": .baseUnit
                case "bv": .baseValue
                case "bs": .baseSum
                case "n": .name
                case "u": .unit
                case "v": .value
                case "vs": .stringValue
                case "vb": .booleanValue
                case "vd": .dataValue
                case "vlo": .objectLinkValue
                case "s": .sum
                case "t": .time
                case "ut": .updateTime
                default: .unknown
                }
        }

        init(cbor number: Scalar) {
            self =
                switch number {
                case .negative(-1): .baseVersion
                case .negative(-2): .baseName
                case .negative(-3): .baseTime
                case .negative(-4): .baseUnit
                case .negative(-5): .baseValue
                case .negative(-6): .baseSum
                case .unsigned(0): .name
                case .unsigned(1): .unit
                case .unsigned(2): .value
                case .unsigned(3): .stringValue
                case .unsigned(4): .booleanValue
                case .unsigned(5): .sum
                case .unsigned(6): .time
                case .unsigned(7): .updateTime
                case .unsigned(8): .dataValue
                default: .unknown
                }
        }
    }

    /// The fields of one record while it is read.
    struct Record {
        /// Of the record in the payload.
        let start: Int
        var baseName: [UInt8]?
        var name: [UInt8] = []
        private(set) var value: (scalar: Scalar, literal: Range<Int>)?
        private var seen: UInt32 = 0

        init(start: Int) { self.start = start }

        /// Notes a label, which a record has once.
        mutating func note(_ label: Label, at offset: Int) throws(PayloadError) {
            if label == .unknown { return }
            let bit: UInt32 = 1 << UInt32(label.rawValue)
            guard self.seen & bit == 0 else { throw PayloadError(.duplicateField, at: offset) }
            self.seen |= bit
        }

        /// Takes the value, of which a record has one.
        mutating func set(_ scalar: Scalar, in literal: Range<Int>) throws(PayloadError) {
            guard self.value == nil else { throw PayloadError(.notOneValue, at: literal.lowerBound) }
            self.value = (scalar, literal)
        }

        /// Versions up to 10 are read by the same rules.
        static func check(version: Scalar, at offset: Int) throws(PayloadError) {
            guard case .unsigned(let number) = version, number <= 10 else {
                throw PayloadError(.unsupportedField, at: offset)
            }
        }
    }

    /// Resolves names: the base name stays in force until another takes its place.
    struct Document {
        private(set) var content: DocumentContent
        private var baseName: [UInt8] = []

        init(_ format: ContentFormat, at path: LwM2MPath) { self.content = DocumentContent(format, at: path) }

        /// `literal` gives the bytes of a range of the payload.
        mutating func add(_ record: Record, literal: (Range<Int>) -> [UInt8]) throws(PayloadError) {
            if let baseName = record.baseName { self.baseName = baseName }
            guard let value = record.value else { throw PayloadError(.notOneValue, at: record.start) }
            guard let path = LwM2MPath(name: self.baseName, record.name) else {
                throw PayloadError(.badName, at: record.start)
            }
            try self.content.add(
                value.scalar, literal: literal(value.literal), at: path, offset: value.literal.lowerBound)
        }
    }

    /// The names of the records of a document for `path`: one base name in the first record, and what is below it in each.
    /// A single resource has its own path as base name and no name.
    static func names(of values: [DocumentValue], at path: LwM2MPath) -> (base: String, names: [String?]) {
        if values.count == 1, values[0].path == path { return (path.description, [nil]) }
        let base = path == .root ? "/" : "\(path)/"
        return (base, values.map { $0.path.segments.dropFirst(path.count).joined(separator: "/") })
    }
}
