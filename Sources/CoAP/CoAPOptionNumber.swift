/// The number of an option; its low bits say how whoever does not know it must treat it (RFC 7252, section 5.4.6).
package struct CoAPOptionNumber: RawRepresentable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt16

    package init(rawValue: UInt16) {
        self.rawValue = rawValue
    }

    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    /// Whoever does not know it must reject the message.
    package var isCritical: Bool { self.rawValue & 1 != 0 }
    /// A proxy that does not know it must not forward it.
    package var isUnsafe: Bool { self.rawValue & 2 != 0 }
    /// Safe to forward, and not part of the cache key.
    package var isNoCacheKey: Bool { self.rawValue & 0x1e == 0x1c }

    /// Whether a message may carry it more than once. False for numbers without a definition here.
    package var isRepeatable: Bool { self.isRepeatable(inRequest: true) }

    package var description: String { String(self.rawValue) }
}

extension CoAPOptionNumber {
    package static let ifMatch = Self(rawValue: 1)
    package static let uriHost = Self(rawValue: 3)
    package static let eTag = Self(rawValue: 4)
    package static let ifNoneMatch = Self(rawValue: 5)
    package static let observe = Self(rawValue: 6)
    package static let uriPort = Self(rawValue: 7)
    package static let locationPath = Self(rawValue: 8)
    package static let oscore = Self(rawValue: 9)
    package static let uriPath = Self(rawValue: 11)
    package static let contentFormat = Self(rawValue: 12)
    package static let maxAge = Self(rawValue: 14)
    package static let uriQuery = Self(rawValue: 15)
    package static let hopLimit = Self(rawValue: 16)
    package static let accept = Self(rawValue: 17)
    package static let qBlock1 = Self(rawValue: 19)
    package static let locationQuery = Self(rawValue: 20)
    package static let block2 = Self(rawValue: 23)
    package static let block1 = Self(rawValue: 27)
    package static let size2 = Self(rawValue: 28)
    package static let qBlock2 = Self(rawValue: 31)
    package static let proxyURI = Self(rawValue: 35)
    package static let proxyScheme = Self(rawValue: 39)
    package static let size1 = Self(rawValue: 60)
    package static let echo = Self(rawValue: 252)
    package static let noResponse = Self(rawValue: 258)
    package static let requestTag = Self(rawValue: 292)
}

extension CoAPOptionNumber {
    /// The lengths that an option understood by the gateway may have; nil for one that it does not understand.
    ///
    /// OSCORE and the Q-Block pair are left out on purpose: a gateway that must read accounts cannot serve them, and both
    /// are critical, so an endpoint answers them with 4.02 (T31).
    var permittedLength: ClosedRange<Int>? {
        switch self {
        case .ifMatch, .requestTag: 0...8
        case .eTag: 1...8
        case .ifNoneMatch: 0...0
        case .uriHost, .proxyScheme: 1...255
        case .observe, .block1, .block2: 0...3
        case .uriPort, .contentFormat, .accept: 0...2
        case .locationPath, .locationQuery, .uriPath, .uriQuery: 0...255
        case .maxAge, .size1, .size2: 0...4
        case .hopLimit: 1...1
        case .noResponse: 0...1
        case .proxyURI: 1...1034
        case .echo: 1...40
        default: nil
        }
    }

    /// ETag may be repeated in a request only.
    func isRepeatable(inRequest: Bool) -> Bool {
        switch self {
        case .ifMatch, .locationPath, .locationQuery, .uriPath, .uriQuery, .requestTag: true
        case .eTag: inRequest
        default: false
        }
    }
}
