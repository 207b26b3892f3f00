internal import Glibc

extension ServerURI {
    /// Why a text is not the URI of a server that this gateway can reach. The description says what would be right.
    package enum ParseError: Error, Hashable, Sendable {
        case empty
        /// Longer than 255 bytes, as given or with its port written out.
        case tooLong
        /// A control byte, a space, a byte past ASCII or one that a URI never holds, with its position.
        case forbiddenByte(UInt8, at: Int)
        /// No `scheme:` in front.
        case missingScheme
        /// A scheme that UDP does not carry, such as `coap+tcp`, `tel` or `mqtt` (T25); at most 32 characters of it.
        case unsupportedScheme(String)
        /// No `//` after the scheme.
        case missingAuthority
        case missingHost
        case invalidHost
        /// `fe80::1%25eth0`: a zone means something only on the machine that wrote it.
        case zone
        case invalidPort
        case userInfo
        case fragment
        /// `%` without two hexadecimal digits, or that stands for a control byte or a byte that must not be hidden.
        case invalidPercentEncoding
        /// `.` or `..` as a path segment, which CoAP cannot carry.
        case dotSegment
    }

    /// Reads a URI. Throws what is wrong with it.
    package init(_ text: String) throws(ParseError) { try self.init(utf8: Array(text.utf8)) }

    /// Reads the URI that resource 0 of a Security object holds.
    package init(utf8 bytes: [UInt8]) throws(ParseError) {
        guard !bytes.isEmpty else { throw .empty }
        guard bytes.count <= Self.maximumLength else { throw .tooLong }
        if let index = bytes.firstIndex(where: { !URIBytes.isAllowed($0) }) {
            throw .forbiddenByte(bytes[index], at: index)
        }
        guard !bytes.contains(UInt8(ascii: "#")) else { throw .fragment }

        let (scheme, afterScheme) = try Self.parseScheme(bytes)
        guard bytes[afterScheme...].starts(with: "//".utf8) else { throw .missingAuthority }
        let rest = bytes[(afterScheme + 2)...]
        let authority = rest.prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
        let (host, port) = try Self.parseAuthority(authority)

        let path = rest[authority.endIndex...].prefix { $0 != UInt8(ascii: "?") }
        let query = rest[path.endIndex...].dropFirst()
        try Self.checkSegments(path)
        let hasQuery = path.endIndex < rest.endIndex
        self.init(
            scheme: scheme,
            host: host,
            port: port ?? scheme.defaultPort,
            path: try Self.normalized(path, extra: ":@/"),
            query: hasQuery ? try Self.normalized(query, extra: ":@/?") : nil
        )
        // The port that is written out, and an address that is, must not make the text longer than a device may be given.
        // They add some ten bytes at most.
        guard bytes.count < Self.maximumLength - 64 || self.description.utf8.count <= Self.maximumLength else {
            throw .tooLong
        }
    }

    private static func parseScheme(_ bytes: [UInt8]) throws(ParseError) -> (Scheme, Int) {
        guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")), colon > 0, URIBytes.isLetter(bytes[0]),
            bytes[..<colon].allSatisfy(URIBytes.isSchemeByte)
        else { throw .missingScheme }
        let name = URIBytes.lowercased(bytes[..<colon])
        guard let scheme = Scheme(rawValue: name) else { throw .unsupportedScheme(String(name.prefix(32))) }
        return (scheme, colon + 1)
    }

    private static func parseAuthority(_ bytes: ArraySlice<UInt8>) throws(ParseError) -> (String, UInt16?) {
        guard !bytes.contains(UInt8(ascii: "@")) else { throw .userInfo }
        if bytes.first == UInt8(ascii: "[") {
            guard let end = bytes.firstIndex(of: UInt8(ascii: "]")) else { throw .invalidHost }
            let literal = bytes[(bytes.startIndex + 1)..<end]
            guard !literal.contains(UInt8(ascii: "%")) else { throw .zone }
            guard let host = Self.canonicalIPv6(literal) else { throw .invalidHost }
            let rest = bytes[(end + 1)...]
            guard let colon = rest.first else { return (host, nil) }
            guard colon == UInt8(ascii: ":") else { throw .invalidHost }
            return (host, try Self.parsePort(rest.dropFirst()))
        }
        let host = bytes.prefix { $0 != UInt8(ascii: ":") }
        guard !host.isEmpty else { throw .missingHost }
        guard URIBytes.isHostName(host) else { throw .invalidHost }
        let port = try Self.parsePort(bytes[host.endIndex...].dropFirst())
        return (URIBytes.lowercased(host), port)
    }

    /// 1 to 65535 in decimal without leading zeros; nothing at all is the default port, as RFC 3986 has it.
    private static func parsePort(_ digits: ArraySlice<UInt8>) throws(ParseError) -> UInt16? {
        guard let first = digits.first else { return nil }
        guard first != UInt8(ascii: "0"), digits.count <= 5, digits.allSatisfy(URIBytes.isDigit),
            let port = UInt16(exactly: digits.reduce(0) { 10 * $0 + Int($1 - UInt8(ascii: "0")) })
        else { throw .invalidPort }
        return port
    }

    private static func canonicalIPv6(_ literal: ArraySlice<UInt8>) -> String? {
        var address = in6_addr()
        guard inet_pton(AF_INET6, String(decoding: literal, as: UTF8.self), &address) == 1 else { return nil }
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        guard inet_ntop(AF_INET6, &address, &text, socklen_t(text.count)) != nil else { return nil }
        return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func checkSegments(_ path: ArraySlice<UInt8>) throws(ParseError) {
        for segment in path.split(separator: UInt8(ascii: "/"))
        where segment.elementsEqual(".".utf8) || segment.elementsEqual("..".utf8) {
            throw .dotSegment
        }
    }

    /// The text in its one spelling (RFC 3986, section 6.2.2): what needs no encoding stands in clear, what needs it has
    /// upper-case digits. `extra` names the reserved bytes that this component holds beside the sub-delimiters.
    private static func normalized(
        _ component: ArraySlice<UInt8>,
        extra: StaticString
    ) throws(ParseError) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(component.count)
        var index = component.startIndex
        while index < component.endIndex {
            let byte = component[index]
            index += 1
            if byte != UInt8(ascii: "%") {
                let isExtra = extra.withUTF8Buffer { $0.contains(byte) }
                guard isExtra || URIBytes.isUnreserved(byte) || URIBytes.isSubDelimiter(byte) else {
                    throw .forbiddenByte(byte, at: index - 1)
                }
                result.append(byte)
                continue
            }
            guard component.endIndex - index >= 2, let high = URIBytes.nibble(component[index]),
                let low = URIBytes.nibble(component[index + 1])
            else { throw .invalidPercentEncoding }
            index += 2
            let hidden = high << 4 | low
            // A dot in disguise could make a dot segment, and a control byte or a slash is read differently by everyone.
            guard hidden >= 0x20, hidden != 0x7F, hidden != UInt8(ascii: "."), hidden != UInt8(ascii: "/") else {
                throw .invalidPercentEncoding
            }
            if URIBytes.isUnreserved(hidden) {
                result.append(hidden)
            } else {
                result += [UInt8(ascii: "%"), URIBytes.digit(high), URIBytes.digit(low)]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}

extension ServerURI.ParseError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .empty: "the URI is empty; write coap://HOST:PORT or coaps://HOST:PORT"
        case .tooLong: "the URI with its port is longer than \(ServerURI.maximumLength) bytes"
        case .forbiddenByte(let byte, let position):
            "byte 0x\(String(byte, radix: 16)) at position \(position) cannot stand in a URI; use ASCII, without spaces"
        case .missingScheme: "the URI has no scheme; write coap:// or coaps:// in front"
        case .unsupportedScheme(let name): "the scheme '\(name)' is not carried over UDP; use coap or coaps"
        case .missingAuthority: "'//' is missing after the scheme; write coap://HOST:PORT"
        case .missingHost: "the URI names no host; write coap://HOST:PORT"
        case .invalidHost:
            "the host is neither a name, nor an IPv4 address of four decimal numbers, nor an IPv6 address in brackets"
        case .zone: "an IPv6 zone (%) means something on one machine only; leave it out"
        case .invalidPort: "the port is not a decimal number from 1 to 65535 without leading zeros"
        case .userInfo: "a CoAP URI has no user information; leave out what stands before '@'"
        case .fragment: "a server URI has no fragment; leave out what follows '#'"
        case .invalidPercentEncoding:
            "'%' needs two hexadecimal digits that stand for no control byte, dot or slash"
        case .dotSegment: "'.' and '..' cannot be path segments in CoAP; write the path that is meant"
        }
    }
}

/// The classes of bytes that a URI is made of (RFC 3986, section 2).
private enum URIBytes {
    /// Letters, digits, unreserved and reserved bytes, and `%`.
    static func isAllowed(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x21...0x7E:
            switch UnicodeScalar(byte) {
            case "\"", "<", ">", "\\", "^", "`", "{", "|", "}": false
            default: true
            }
        default: false
        }
    }

    static func isLetter(_ byte: UInt8) -> Bool {
        let lower = byte | 0x20
        return lower >= UInt8(ascii: "a") && lower <= UInt8(ascii: "z")
    }

    static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }

    static func isSchemeByte(_ byte: UInt8) -> Bool {
        switch UnicodeScalar(byte) {
        case "+", "-", ".": true
        default: Self.isLetter(byte) || Self.isDigit(byte)
        }
    }

    static func isLabelByte(_ byte: UInt8) -> Bool {
        switch UnicodeScalar(byte) {
        case "-", "_": true
        default: Self.isLetter(byte) || Self.isDigit(byte)
        }
    }

    static func isUnreserved(_ byte: UInt8) -> Bool {
        switch UnicodeScalar(byte) {
        case "-", ".", "_", "~": true
        default: Self.isLetter(byte) || Self.isDigit(byte)
        }
    }

    static func isSubDelimiter(_ byte: UInt8) -> Bool {
        switch UnicodeScalar(byte) {
        case "!", "$", "&", "'", "(", ")", "*", "+", ",", ";", "=": true
        default: false
        }
    }

    /// Labels of letters, digits, `-` and `_`. A last label that is a number makes it an IPv4 address, which must then
    /// have its four decimal parts: `192.0.2` or `0x7f.1` mean different hosts to different readers.
    static func isHostName(_ host: ArraySlice<UInt8>) -> Bool {
        guard host.count <= 253 else { return false }
        // Up to here a label has begun; the last one is looked at behind the loop.
        var start = host.startIndex
        for index in host.indices {
            if host[index] == UInt8(ascii: ".") {
                guard index > start, index - start <= 63 else { return false }
                if index + 1 < host.endIndex { start = index + 1 }
            } else {
                guard Self.isLabelByte(host[index]) else { return false }
            }
        }
        let isRooted = host.last == UInt8(ascii: ".")
        let last = isRooted ? host[start...].dropLast() : host[start...]
        guard !last.isEmpty, last.count <= 63 else { return false }
        let isHexadecimal = last.starts(with: "0x".utf8) || last.starts(with: "0X".utf8)
        guard isHexadecimal || last.allSatisfy(Self.isDigit) else { return true }
        var address = in_addr()
        return !isRooted && inet_pton(AF_INET, String(decoding: host, as: UTF8.self), &address) == 1
    }

    /// ASCII alone, as everything here is.
    static func lowercased(_ bytes: ArraySlice<UInt8>) -> String {
        guard bytes.contains(where: { UInt8(ascii: "A")...UInt8(ascii: "Z") ~= $0 }) else {
            return String(decoding: bytes, as: UTF8.self)
        }
        return String(decoding: bytes, as: UTF8.self).lowercased()
    }

    static func nibble(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    static func digit(_ nibble: UInt8) -> UInt8 {
        nibble < 10 ? nibble + UInt8(ascii: "0") : nibble - 10 + UInt8(ascii: "A")
    }
}
