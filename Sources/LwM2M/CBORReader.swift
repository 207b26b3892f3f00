/// Reads CBOR (RFC 8949) item by item: well-formed items only, within limits.
///
/// Arrays, maps and strings may be of definite or indefinite length. Tags are read where they mean something here: 1, a
/// time, before a number, and 4, a decimal fraction. A caller asks for what its format demands next, and skips the rest.
struct CBORReader {
    private let bytes: [UInt8]
    private(set) var position = 0
    private var depth = 0
    private var items = 0

    enum MajorType: UInt8 {
        case unsigned, negative, bytes, text, array, map, tag, simple
    }

    /// Throws when the document is too large.
    init(_ bytes: [UInt8]) throws(PayloadError) {
        guard bytes.count <= PayloadCodec.maximumSize else {
            throw PayloadError(.tooLarge, at: PayloadCodec.maximumSize)
        }
        self.bytes = bytes
    }

    /// Of the next item.
    func peek() throws(PayloadError) -> MajorType {
        guard self.position < self.bytes.count else { throw PayloadError(.truncated, at: self.position) }
        // Three bits: all eight values are types.
        return MajorType(rawValue: self.bytes[self.position] >> 5) ?? .simple
    }

    /// The bytes from `start` to here.
    func literal(from start: Int) -> [UInt8] { Array(self.bytes[start..<self.position]) }

    func finish() throws(PayloadError) {
        guard self.position == self.bytes.count else { throw PayloadError(.trailingBytes, at: self.position) }
    }

    // MARK: - Arrays and maps

    /// An array or a map that is being read.
    struct Container {
        /// Elements, or pairs of them, that are left; nil when a break ends the container.
        fileprivate var remaining: Int?
    }

    mutating func enter(_ type: MajorType) throws(PayloadError) -> Container {
        let head = try self.readHead()
        guard head.type == type, type == .array || type == .map else { throw PayloadError(.wrongShape, at: head.start) }
        guard self.depth < PayloadCodec.maximumDepth else { throw PayloadError(.tooDeep, at: head.start) }
        self.depth += 1
        guard !head.isIndefinite else { return Container(remaining: nil) }
        // Each element has one byte at least, so a count beyond the payload is refused before anything is made of it.
        let room = UInt64(self.bytes.count - self.position) / (type == .map ? 2 : 1)
        guard head.argument <= room else { throw PayloadError(.truncated, at: head.start) }
        return Container(remaining: Int(head.argument))
    }

    /// Whether an element, or a key with its value, follows; at the end the container is left.
    mutating func next(in container: inout Container) throws(PayloadError) -> Bool {
        if let remaining = container.remaining {
            guard remaining > 0 else {
                self.depth -= 1
                return false
            }
            container.remaining = remaining - 1
            return true
        }
        guard try self.takeBreak() else { return true }
        self.depth -= 1
        return false
    }

    // MARK: - Values

    /// An integer from -2^63 to 2^64 - 1.
    mutating func readInteger() throws(PayloadError) -> Scalar {
        let head = try self.readHead()
        return try self.integer(head)
    }

    /// UTF-8 text.
    mutating func readText() throws(PayloadError) -> [UInt8] {
        let head = try self.readHead()
        guard head.type == .text else { throw PayloadError(.wrongField, at: head.start) }
        return try self.string(head)
    }

    /// A number, boolean, text or byte string.
    mutating func readScalar() throws(PayloadError) -> Scalar {
        let head = try self.readHead()
        switch head.type {
        case .unsigned, .negative: return try self.integer(head)
        case .bytes: return .opaque(try self.string(head))
        case .text: return .text(try self.string(head))
        case .tag: return try self.tagged(head)
        case .simple:
            if head.information == 20 || head.information == 21 { return .boolean(head.information == 21) }
            return try self.float(head)
        case .array, .map: throw PayloadError(.wrongShape, at: head.start)
        }
    }

    /// Any item.
    mutating func skip() throws(PayloadError) {
        switch try self.peek() {
        case .array:
            var array = try self.enter(.array)
            while try self.next(in: &array) { try self.skip() }
        case .map:
            var map = try self.enter(.map)
            while try self.next(in: &map) {
                try self.skip()
                try self.skip()
            }
        case .tag:
            let head = try self.readHead()
            guard self.depth < PayloadCodec.maximumDepth else { throw PayloadError(.tooDeep, at: head.start) }
            self.depth += 1
            try self.skip()
            self.depth -= 1
        case .bytes, .text:
            let head = try self.readHead()
            _ = try self.string(head)
        case .unsigned, .negative, .simple:
            let head = try self.readHead()
            // Simple values below 32 have no second byte.
            guard head.type != .simple || head.information != 24 || head.argument >= 32 else {
                throw PayloadError(.malformed, at: head.start)
            }
        }
    }

    // MARK: - Heads

    private struct Head {
        let start: Int
        let type: MajorType
        /// The low five bits of the first byte.
        let information: UInt8
        let argument: UInt64

        var isIndefinite: Bool { self.information == 31 }
    }

    private mutating func readHead() throws(PayloadError) -> Head {
        let start = self.position
        let type = try self.peek()
        self.items += 1
        guard self.items <= PayloadCodec.maximumItems else { throw PayloadError(.tooManyItems, at: start) }
        let information = self.bytes[start] & 0x1F
        self.position += 1
        switch information {
        case ..<24: return Head(start: start, type: type, information: information, argument: UInt64(information))
        case 24...27:
            let count = 1 << Int(information - 24)
            guard count <= self.bytes.count - self.position else { throw PayloadError(.truncated, at: start) }
            let argument = self.bytes[self.position..<(self.position + count)].reduce(0) { $0 << 8 | UInt64($1) }
            self.position += count
            return Head(start: start, type: type, information: information, argument: argument)
        case 31:
            switch type {
            case .bytes, .text, .array, .map: return Head(start: start, type: type, information: 31, argument: 0)
            // A break outside of what it ends, or a type that has no length.
            case .unsigned, .negative, .tag, .simple: throw PayloadError(.malformed, at: start)
            }
        default: throw PayloadError(.malformed, at: start)
        }
    }

    private mutating func takeBreak() throws(PayloadError) -> Bool {
        guard self.position < self.bytes.count else { throw PayloadError(.truncated, at: self.position) }
        guard self.bytes[self.position] == 0xFF else { return false }
        self.position += 1
        return true
    }

    private func integer(_ head: Head) throws(PayloadError) -> Scalar {
        switch head.type {
        case .unsigned: return .unsigned(head.argument)
        case .negative:
            guard let magnitude = Int64(exactly: head.argument) else {
                throw PayloadError(.unsupportedNumber, at: head.start)
            }
            return .negative(-1 - magnitude)
        default: throw PayloadError(.wrongField, at: head.start)
        }
    }

    /// A string of bytes or text, in one piece or in pieces that are of definite length themselves.
    private mutating func string(_ head: Head) throws(PayloadError) -> [UInt8] {
        guard head.isIndefinite else { return try self.piece(head) }
        var string: [UInt8] = []
        while try !self.takeBreak() {
            let piece = try self.readHead()
            guard piece.type == head.type, !piece.isIndefinite else { throw PayloadError(.malformed, at: piece.start) }
            string += try self.piece(piece)
        }
        return string
    }

    private mutating func piece(_ head: Head) throws(PayloadError) -> [UInt8] {
        guard head.argument <= UInt64(self.bytes.count - self.position) else {
            throw PayloadError(.truncated, at: head.start)
        }
        let piece = self.bytes[self.position..<(self.position + Int(head.argument))]
        guard head.type == .bytes || ResourceType.string.accepts(piece) else {
            throw PayloadError(.malformed, at: head.start)
        }
        self.position += piece.count
        return Array(piece)
    }

    /// A float; one that is a whole number of 64 bits is that integer.
    private func float(_ head: Head) throws(PayloadError) -> Scalar {
        let value: Double
        switch head.information {
        case 25: value = Self.half(UInt16(truncatingIfNeeded: head.argument))
        case 26: value = Double(Float(bitPattern: UInt32(truncatingIfNeeded: head.argument)))
        case 27: value = Double(bitPattern: head.argument)
        default: throw PayloadError(.wrongField, at: head.start)
        }
        if let number = UInt64(exactly: value) { return .unsigned(number) }
        if let number = Int64(exactly: value) { return .negative(number) }
        return .fraction
    }

    private static func half(_ bits: UInt16) -> Double {
        let significand = Double(bits & 0x3FF)
        let magnitude: Double =
            switch bits >> 10 & 0x1F {
            case 0: significand / 16_777_216
            case 31: significand == 0 ? .infinity : .nan
            case let exponent: (1024 + significand) * Double(sign: .plus, exponent: Int(exponent) - 25, significand: 1)
            }
        return bits & 0x8000 == 0 ? magnitude : -magnitude
    }

    /// A time, or a decimal fraction: an array of the power of ten and the number that it multiplies.
    private mutating func tagged(_ head: Head) throws(PayloadError) -> Scalar {
        switch head.argument {
        case 1:
            let number = try self.readHead()
            switch number.type {
            case .unsigned, .negative: return try self.integer(number)
            case .simple: return try self.float(number)
            default: throw PayloadError(.unsupportedNumber, at: head.start)
            }
        case 4:
            let pair = try self.readHead()
            guard pair.type == .array, pair.argument == 2, !pair.isIndefinite else {
                throw PayloadError(.unsupportedNumber, at: head.start)
            }
            let exponent = try self.readInteger()
            return Self.decimal(try self.readInteger(), exponent: exponent)
        default: throw PayloadError(.unsupportedNumber, at: head.start)
        }
    }

    private static func decimal(_ mantissa: Scalar, exponent: Scalar) -> Scalar {
        if mantissa == .unsigned(0) { return mantissa }
        // 10^19 is the highest power of ten in 64 bits.
        var number = mantissa
        switch exponent {
        case .unsigned(let up):
            guard up <= 19 else { return .fraction }
            for _ in 0..<up {
                switch number {
                case .unsigned(let value):
                    let (product, overflow) = value.multipliedReportingOverflow(by: 10)
                    if overflow { return .fraction }
                    number = .unsigned(product)
                case .negative(let value):
                    let (product, overflow) = value.multipliedReportingOverflow(by: 10)
                    if overflow { return .fraction }
                    number = .negative(product)
                default: return .fraction
                }
            }
        case .negative(let down):
            guard down >= -19 else { return .fraction }
            for _ in 0..<(-down) {
                switch number {
                case .unsigned(let value) where value % 10 == 0: number = .unsigned(value / 10)
                case .negative(let value) where value % 10 == 0: number = .negative(value / 10)
                default: return .fraction
                }
            }
        default: return .fraction
        }
        return number
    }
}
