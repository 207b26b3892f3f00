/// Where something stands in a device's objects: `/object/instance/resource/resource instance`, cut off at any level; no
/// level at all is the root.
///
/// A path has one spelling. What a server sends is parsed strictly and what goes to a device is spelled anew, because a
/// device may read `/00/1` otherwise than a gateway does (T26).
package struct LwM2MPath: Hashable, Sendable {
    /// The number of identifiers, 0 to 4.
    package let count: Int
    // Inline, so that a path costs no allocation. Levels past `count` are 0.
    private let identifiers: (UInt16, UInt16, UInt16, UInt16)

    /// The path above all objects.
    package static let root = LwM2MPath(count: 0, identifiers: (0, 0, 0, 0))

    private init(count: Int, identifiers: (UInt16, UInt16, UInt16, UInt16)) {
        self.count = count
        self.identifiers = identifiers
    }

    package init(_ object: UInt16) { self.init(count: 1, identifiers: (object, 0, 0, 0)) }

    package init(_ object: UInt16, _ instance: UInt16) { self.init(count: 2, identifiers: (object, instance, 0, 0)) }

    package init(_ object: UInt16, _ instance: UInt16, _ resource: UInt16) {
        self.init(count: 3, identifiers: (object, instance, resource, 0))
    }

    package init(_ object: UInt16, _ instance: UInt16, _ resource: UInt16, _ resourceInstance: UInt16) {
        self.init(count: 4, identifiers: (object, instance, resource, resourceInstance))
    }

    /// Reads the values of the Uri-Path options. No option at all and one empty option are both the root (T37).
    package init(segments: [String]) throws(ParseError) {
        if segments.isEmpty || segments == [""] {
            self = .root
            return
        }
        guard segments.count <= 4 else { throw .tooDeep }
        var levels: (UInt16, UInt16, UInt16, UInt16) = (0, 0, 0, 0)
        for (level, segment) in segments.enumerated() {
            guard let identifier = Self.identifier(segment.utf8) else { throw .notAnIdentifier(level: level) }
            switch level {
            case 0: levels.0 = identifier
            case 1: levels.1 = identifier
            case 2: levels.2 = identifier
            default: levels.3 = identifier
            }
        }
        self.init(count: segments.count, identifiers: levels)
    }

    /// Why Uri-Path options are not a path to an object.
    package enum ParseError: Error, Hashable, Sendable {
        /// More than four levels.
        case tooDeep
        /// The option at this place, counted from 0, is not a decimal number from 0 to 65535 in its one spelling.
        case notAnIdentifier(level: Int)
    }

    package var objectID: UInt16? { self.count > 0 ? self.identifiers.0 : nil }
    package var instanceID: UInt16? { self.count > 1 ? self.identifiers.1 : nil }
    package var resourceID: UInt16? { self.count > 2 ? self.identifiers.2 : nil }
    package var resourceInstanceID: UInt16? { self.count > 3 ? self.identifiers.3 : nil }

    /// The values of the Uri-Path options that lead here; none for the root.
    package var segments: [String] {
        var segments: [String] = []
        segments.reserveCapacity(self.count)
        self.forEachLevel { segments.append(String($0)) }
        return segments
    }

    /// Whether this is `other` or lies below it.
    package func isWithin(_ other: LwM2MPath) -> Bool {
        guard self.count >= other.count else { return false }
        let (own, its) = (self.identifiers, other.identifiers)
        return (other.count < 1 || own.0 == its.0) && (other.count < 2 || own.1 == its.1)
            && (other.count < 3 || own.2 == its.2) && (other.count < 4 || own.3 == its.3)
    }

    /// One level further down; nil from the fourth.
    func appending(_ identifier: UInt16) -> LwM2MPath? {
        let own = self.identifiers
        return switch self.count {
        case 0: LwM2MPath(identifier)
        case 1: LwM2MPath(own.0, identifier)
        case 2: LwM2MPath(own.0, own.1, identifier)
        case 3: LwM2MPath(own.0, own.1, own.2, identifier)
        default: nil
        }
    }

    /// The same levels seen from `base`; nil when there would be more than four.
    func relative(to base: LwM2MPath) -> LwM2MPath? {
        var path: LwM2MPath? = base
        for identifier in self.levels { path = path?.appending(identifier) }
        return path
    }

    /// A name in a document, `rest` behind `start`: `/`, and levels in their one spelling with one `/` between each two of
    /// them (T26).
    init?(name start: [UInt8], _ rest: [UInt8] = []) {
        // The length first: one long base name may stand for many names.
        guard start.count + rest.count <= Self.maximumNameLength else { return nil }
        var reader = NameReader()
        for byte in start { guard reader.read(byte) else { return nil } }
        for byte in rest { guard reader.read(byte) else { return nil } }
        guard let path = reader.finished else { return nil }
        self = path
    }

    private struct NameReader {
        private var path = LwM2MPath.root
        /// Of the level that is being read; -1 before the first slash.
        private var digits = -1
        private var identifier: UInt32 = 0

        /// False when there can be no path any more.
        mutating func read(_ byte: UInt8) -> Bool {
            if byte == UInt8(ascii: "/") {
                if self.digits >= 0 {
                    guard let path = self.finished else { return false }
                    self.path = path
                }
                self.digits = 0
                self.identifier = 0
                return true
            }
            // No sixth digit, and no digit behind a zero that leads.
            guard 0x30...0x39 ~= byte, 0..<5 ~= self.digits, self.identifier > 0 || self.digits == 0 else {
                return false
            }
            self.identifier = self.identifier * 10 + UInt32(byte - 0x30)
            self.digits += 1
            return true
        }

        var finished: LwM2MPath? {
            guard self.digits > 0, let identifier = UInt16(exactly: self.identifier) else { return nil }
            return self.path.appending(identifier)
        }
    }

    /// The longest name that is a path, in bytes.
    private static let maximumNameLength = 24

    /// Of this level, counted from 0; nil below the last.
    func identifier(at level: Int) -> UInt16? {
        guard level < self.count else { return nil }
        return switch level {
        case 0: self.identifiers.0
        case 1: self.identifiers.1
        case 2: self.identifiers.2
        default: self.identifiers.3
        }
    }

    private func forEachLevel(_ body: (UInt16) -> Void) {
        if self.count > 0 { body(self.identifiers.0) }
        if self.count > 1 { body(self.identifiers.1) }
        if self.count > 2 { body(self.identifiers.2) }
        if self.count > 3 { body(self.identifiers.3) }
    }

    var levels: [UInt16] {
        let all = [self.identifiers.0, self.identifiers.1, self.identifiers.2, self.identifiers.3]
        return Array(all.prefix(self.count))
    }

    /// 1 to 5 decimal digits, no sign, no leading zero, at most 65535.
    static func identifier(_ digits: some Collection<UInt8>) -> UInt16? {
        guard let first = digits.first, digits.count <= 5, first != UInt8(ascii: "0") || digits.count == 1 else {
            return nil
        }
        var value: UInt32 = 0
        for digit in digits {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            value = value * 10 + UInt32(digit - UInt8(ascii: "0"))
        }
        return UInt16(exactly: value)
    }

    package static func == (left: LwM2MPath, right: LwM2MPath) -> Bool {
        left.count == right.count && left.identifiers == right.identifiers
    }

    package func hash(into hasher: inout Hasher) {
        let (object, instance, resource, resourceInstance) = self.identifiers
        let upper = UInt64(object) << 48 | UInt64(instance) << 32
        hasher.combine(upper | UInt64(resource) << 16 | UInt64(resourceInstance))
        hasher.combine(UInt8(truncatingIfNeeded: self.count))
    }
}

extension LwM2MPath: CustomStringConvertible {
    package var description: String {
        // Most paths are short enough to be a text without storage of its own.
        guard self.count > 0 else { return "/" }
        var text = ""
        self.forEachLevel {
            text += "/"
            text += String($0)
        }
        return text
    }
}

extension LwM2MPath.ParseError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .tooDeep: "a path has at most four levels: object, instance, resource, resource instance"
        case .notAnIdentifier(let level):
            "level \(level + 1) of the path is not a number from 0 to 65535 without sign and leading zeros"
        }
    }
}
