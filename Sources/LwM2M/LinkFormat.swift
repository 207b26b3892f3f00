/// A list of links, as a device answers to Discover (RFC 6690 as LwM2M uses it, spec 1.3).
///
/// Pure. What nobody changes is kept byte for byte: order, links and attributes that mean nothing here, the ways in which
/// devices name the version of LwM2M, and a blank behind a comma (T33). Strict where two readers could see two lists, and
/// bounded by the limits below.
package struct LinkFormat: Hashable, Sendable {
    /// The largest list that is looked at, in bytes (T46).
    package static let maximumSize = PayloadCodec.maximumSize
    /// The most links in one list (T46).
    package static let maximumLinks = 1_000
    /// The most attributes of one link (T46).
    package static let maximumAttributes = 16

    package var links: [Link]

    /// Reads a whole list; nothing at all is a list without links.
    package init(_ bytes: [UInt8]) throws(LinkFormatError) {
        guard bytes.count <= Self.maximumSize else { throw LinkFormatError(.tooLarge, at: 0) }
        guard bytes.allSatisfy({ $0 < 0x80 }) || String(validating: bytes, as: UTF8.self) != nil else {
            throw LinkFormatError(.malformed, at: 0)
        }
        self.links = []
        guard !bytes.isEmpty else { return }
        var reader = LinkReader(bytes)
        var paths: Set<LwM2MPath> = []
        while true {
            guard self.links.count < Self.maximumLinks else { throw LinkFormatError(.tooMany, at: reader.offset) }
            let start = reader.offset
            let link = try reader.link(isFirst: self.links.isEmpty)
            if let path = link.path, !paths.insert(path).inserted { throw LinkFormatError(.duplicate, at: start) }
            self.links.append(link)
            guard try reader.hasNext() else { return }
        }
    }

    package var bytes: [UInt8] {
        var bytes: [UInt8] = []
        var isFirst = true
        // Attributes alone of which none is left would be a comma with nothing before it.
        for link in self.links where !link.isVacant {
            if !isFirst { bytes.append(UInt8(ascii: ",")) }
            isFirst = false
            link.write(to: &bytes)
        }
        return bytes
    }

    /// One link with its attributes; LwM2M 1.0 also has attributes without a link at the beginning, of the list itself.
    package struct Link: Hashable, Sendable {
        /// Blanks in front.
        let blanks: [UInt8]
        /// What stands between `<` and `>`; nil: attributes alone.
        private(set) var target: [UInt8]?
        /// Where the link leads, when that is in the data model; a slash behind the last number does not count.
        package private(set) var path: LwM2MPath?
        private(set) var attributes: [Attribute]

        init(blanks: [UInt8], target: [UInt8]?, attributes: [Attribute]) {
            self.blanks = blanks
            self.target = target
            self.attributes = attributes
            self.path = target.flatMap(Self.path)
        }

        fileprivate var isVacant: Bool { self.target == nil && self.attributes.isEmpty }

        /// The value of an attribute without its quotes; empty when it has none, nil without such an attribute.
        package subscript(name: String) -> String? {
            self.attributes.first { $0.name == Array(name.utf8) }?.text
        }

        package mutating func remove(_ name: String) { self.attributes.removeAll { $0.name == Array(name.utf8) } }

        /// Gives an attribute that is there another value, in quotes. Nothing changes when it is the one that it has, and
        /// the attribute goes when the text has no form here.
        package mutating func replace(_ name: String, with text: String) {
            guard let index = self.attributes.firstIndex(where: { $0.name == Array(name.utf8) }),
                self.attributes[index].text != text
            else { return }
            guard let value = Self.quoted(text) else {
                self.attributes.remove(at: index)
                return
            }
            self.attributes[index] = Attribute(name: Array(name.utf8), value: value)
        }

        /// Leads to another place from now on, spelled as before.
        package mutating func move(to path: LwM2MPath) {
            guard let target = self.target, self.path != path else { return }
            let hasSlash = target.count > 1 && target.last == UInt8(ascii: "/")
            self.target = Array(path.description.utf8) + (hasSlash ? [UInt8(ascii: "/")] : [])
            self.path = path
        }

        fileprivate func write(to bytes: inout [UInt8]) {
            bytes += self.blanks
            if let target = self.target {
                bytes.append(UInt8(ascii: "<"))
                bytes += target
                bytes.append(UInt8(ascii: ">"))
            }
            for (index, attribute) in self.attributes.enumerated() {
                if index > 0 || self.target != nil { bytes.append(UInt8(ascii: ";")) }
                bytes += attribute.name
                guard let value = attribute.value else { continue }
                bytes.append(UInt8(ascii: "="))
                bytes += value
            }
        }

        private static func path(_ target: [UInt8]) -> LwM2MPath? {
            if target == [UInt8(ascii: "/")] { return .root }
            return LwM2MPath(name: target.last == UInt8(ascii: "/") ? target.dropLast() : target)
        }

        /// Nil for text with control characters.
        private static func quoted(_ text: String) -> [UInt8]? {
            guard text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else { return nil }
            var bytes = [UInt8(ascii: "\"")]
            for byte in text.utf8 {
                if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { bytes.append(UInt8(ascii: "\\")) }
                bytes.append(byte)
            }
            return bytes + [UInt8(ascii: "\"")]
        }
    }

    struct Attribute: Hashable, Sendable {
        let name: [UInt8]
        /// As it stands behind `=`, with its quotes; nil without `=`.
        let value: [UInt8]?

        fileprivate var text: String {
            guard let value = self.value else { return "" }
            guard value.first == UInt8(ascii: "\"") else { return String(decoding: value, as: UTF8.self) }
            var bytes: [UInt8] = []
            var isEscaped = false
            for byte in value.dropFirst().dropLast() {
                if !isEscaped && byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else {
                    bytes.append(byte)
                    isEscaped = false
                }
            }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}

/// One pass over the bytes of a list.
private struct LinkReader {
    private let bytes: [UInt8]
    private(set) var offset = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Attributes alone are the first of a list or nothing.
    mutating func link(isFirst: Bool) throws(LinkFormatError) -> LinkFormat.Link {
        let blanks = self.take { $0 == UInt8(ascii: " ") }
        var target: [UInt8]?
        var attributes: [LinkFormat.Attribute] = []
        if self.next == UInt8(ascii: "<") {
            self.offset += 1
            target = self.take(while: Self.isOfTarget)
            guard self.next == UInt8(ascii: ">") else { throw LinkFormatError(.malformed, at: self.offset) }
            self.offset += 1
        } else {
            guard isFirst else { throw LinkFormatError(.malformed, at: self.offset) }
            attributes.append(try self.attribute())
        }
        while self.next == UInt8(ascii: ";") {
            let start = self.offset
            self.offset += 1
            let attribute = try self.attribute()
            guard attributes.count < LinkFormat.maximumAttributes else { throw LinkFormatError(.tooMany, at: start) }
            guard !attributes.contains(where: { $0.name == attribute.name }) else {
                throw LinkFormatError(.duplicate, at: start)
            }
            attributes.append(attribute)
        }
        return LinkFormat.Link(blanks: blanks, target: target, attributes: attributes)
    }

    /// False at the end of the list.
    mutating func hasNext() throws(LinkFormatError) -> Bool {
        guard let byte = self.next else { return false }
        guard byte == UInt8(ascii: ",") else { throw LinkFormatError(.malformed, at: self.offset) }
        self.offset += 1
        return true
    }

    private mutating func attribute() throws(LinkFormatError) -> LinkFormat.Attribute {
        let name = self.take(while: Self.isOfName)
        guard !name.isEmpty else { throw LinkFormatError(.malformed, at: self.offset) }
        guard self.next == UInt8(ascii: "=") else { return LinkFormat.Attribute(name: name, value: nil) }
        self.offset += 1
        let value: [UInt8]
        if self.next == UInt8(ascii: "\"") {
            value = try self.quoted()
        } else {
            value = self.take(while: Self.isOfToken)
            guard !value.isEmpty else { throw LinkFormatError(.malformed, at: self.offset) }
        }
        return LinkFormat.Attribute(name: name, value: value)
    }

    /// With its quotes.
    private mutating func quoted() throws(LinkFormatError) -> [UInt8] {
        let start = self.offset
        self.offset += 1
        while let byte = self.next {
            guard byte >= 0x20, byte != 0x7F else { break }
            self.offset += 1
            if byte == UInt8(ascii: "\"") { return Array(self.bytes[start..<self.offset]) }
            if byte == UInt8(ascii: "\\") {
                guard let escaped = self.next, escaped >= 0x20, escaped != 0x7F else { break }
                self.offset += 1
            }
        }
        throw LinkFormatError(.malformed, at: self.offset)
    }

    private var next: UInt8? { self.offset < self.bytes.count ? self.bytes[self.offset] : nil }

    private mutating func take(while isWanted: (UInt8) -> Bool) -> [UInt8] {
        let start = self.offset
        while let byte = self.next, isWanted(byte) { self.offset += 1 }
        return Array(self.bytes[start..<self.offset])
    }

    /// Of a reference to a resource: no blank, no bracket, no quote, nothing outside ASCII.
    private static func isOfTarget(_ byte: UInt8) -> Bool {
        0x21...0x7E ~= byte && byte != UInt8(ascii: "<") && byte != UInt8(ascii: ">") && byte != UInt8(ascii: "\"")
    }

    private static func isOfName(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "&"), UInt8(ascii: "+"),
            UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"),
            UInt8(ascii: "|"), UInt8(ascii: "~"), UInt8(ascii: "*"):
            true
        default: false
        }
    }

    private static func isOfToken(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "\\"): false
        default: 0x21...0x7E ~= byte
        }
    }
}

/// Why bytes are no list of links. It holds no value.
package struct LinkFormatError: Error, Hashable, Sendable {
    package enum Reason: String, Sendable {
        case tooLarge = "the list is larger than 65536 bytes"
        case tooMany = "the list has more than 1000 links, or a link more than 16 attributes"
        /// Not UTF-8, or not of the grammar.
        case malformed = "the list is not well formed"
        /// Two links to one place, or an attribute twice at one link.
        case duplicate = "a link or an attribute occurs twice"
    }

    package let reason: Reason
    /// Where in the list, counted from 0.
    package let offset: Int

    init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }
}

extension LinkFormatError: CustomStringConvertible {
    package var description: String { "\(self.reason.rawValue) (byte \(self.offset))" }
}
