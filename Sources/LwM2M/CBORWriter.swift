/// Appends CBOR items: shortest heads, definite lengths.
struct CBORWriter {
    private(set) var bytes: [UInt8] = []

    mutating func append(array count: Int) { self.appendHead(4, UInt64(count)) }

    mutating func append(map count: Int) { self.appendHead(5, UInt64(count)) }

    mutating func append(unsigned number: UInt64) { self.appendHead(0, number) }

    /// -1 to -24, as SenML's labels for base fields are.
    mutating func append(label: Int8) {
        if label >= 0 { self.appendHead(0, UInt64(label)) } else { self.appendHead(1, UInt64(-1 - Int(label))) }
    }

    mutating func append(text: [UInt8]) {
        self.appendHead(3, UInt64(text.count))
        self.bytes += text
    }

    /// An item that is encoded already.
    mutating func append(literal: [UInt8]) { self.bytes += literal }

    mutating func append(_ scalar: Scalar) {
        switch scalar {
        case .unsigned(let number): self.appendHead(0, number)
        case .negative(let number): self.appendHead(1, UInt64(bitPattern: ~number))
        case .boolean(let value): self.bytes.append(value ? 0xF5 : 0xF4)
        case .text(let text), .link(let text): self.append(text: text)
        case .opaque(let bytes):
            self.appendHead(2, UInt64(bytes.count))
            self.bytes += bytes
        // Stands in literals only: no type that is converted has a fraction.
        case .fraction: self.bytes.append(0xF7)
        }
    }

    private mutating func appendHead(_ type: UInt8, _ argument: UInt64) {
        let count: Int
        switch argument {
        case ..<24:
            self.bytes.append(type << 5 | UInt8(argument))
            return
        case ...0xFF: count = 1
        case ...0xFFFF: count = 2
        case ...0xFFFF_FFFF: count = 4
        default: count = 8
        }
        self.bytes.append(type << 5 | (24 + UInt8(count.trailingZeroBitCount)))
        for shift in stride(from: (count - 1) * 8, through: 0, by: -8) {
            self.bytes.append(UInt8(truncatingIfNeeded: argument >> UInt64(shift)))
        }
    }
}

extension CBORWriter {
    mutating func append(_ item: DocumentValue.Item) {
        switch item {
        case .scalar(let scalar): self.append(scalar)
        case .literal(let literal, _): self.append(literal: literal)
        }
    }
}
