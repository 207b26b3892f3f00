/// Appends JSON without white space.
struct JSONWriter {
    private(set) var bytes: [UInt8] = []

    /// Punctuation and names, as they are.
    mutating func append(_ text: StaticString) { text.withUTF8Buffer { self.bytes += $0 } }

    /// A string with what must be escaped escaped; the bytes are UTF-8.
    mutating func append(quoted text: [UInt8]) {
        self.append("\"")
        for byte in text {
            switch byte {
            case UInt8(ascii: "\""): self.append("\\\"")
            case UInt8(ascii: "\\"): self.append("\\\\")
            case ..<0x20:
                self.append("\\u00")
                for digit in [byte >> 4, byte & 0xF] {
                    self.bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
                }
            default: self.bytes.append(byte)
            }
        }
        self.append("\"")
    }

    /// A value; `data` spells opaque bytes.
    mutating func append(_ item: DocumentValue.Item, data: ([UInt8]) -> [UInt8]) {
        switch item {
        case .literal(let literal, _): self.bytes += literal
        case .scalar(let scalar):
            switch scalar {
            case .unsigned(let number): self.bytes += String(number).utf8
            case .negative(let number): self.bytes += String(number).utf8
            case .boolean(let value): self.append(value ? "true" : "false")
            case .text(let text), .link(let text): self.append(quoted: text)
            case .opaque(let bytes): self.append(quoted: data(bytes))
            // Stands in literals only: no type that is converted has a fraction.
            case .fraction: self.append("null")
            }
        }
    }
}
