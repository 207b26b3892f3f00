/// The code of a message: class and detail, written `c.dd` (RFC 7252, section 3).
///
/// Class 0 holds the empty message and the methods, classes 2 to 5 hold responses; 1, 6 and 7 are reserved.
package struct CoAPCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    /// Class in the upper three bits, detail in the lower five.
    package var rawValue: UInt8

    package init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// `CoAPCode(4, 04)` is 4.04. Only the lower three and five bits of the arguments count.
    package init(_ codeClass: UInt8, _ detail: UInt8) {
        self.rawValue = (codeClass & 0x07) << 5 | detail & 0x1f
    }

    /// 0 to 7: the digit before the dot.
    package var codeClass: UInt8 { self.rawValue >> 5 }
    /// 0 to 31: the digits behind the dot.
    package var detail: UInt8 { self.rawValue & 0x1f }

    package var isEmpty: Bool { self.rawValue == 0 }
    /// A method, known or not.
    package var isRequest: Bool { self.codeClass == 0 && !self.isEmpty }
    /// Class 2 to 5. A response with an unknown detail counts as the `x.00` of its class.
    package var isResponse: Bool { (2...5).contains(self.codeClass) }
    /// Class 2.
    package var isSuccess: Bool { self.codeClass == 2 }
    /// Class 1, 6 or 7: no message may carry it.
    package var isReserved: Bool { !self.isResponse && self.codeClass != 0 }

    package var description: String {
        // Every record of the journal may have one: without interpolation it costs no allocation.
        String(unsafeUninitializedCapacity: 4) { bytes in
            bytes[0] = 48 + self.codeClass
            bytes[1] = UInt8(ascii: ".")
            bytes[2] = 48 + self.detail / 10
            bytes[3] = 48 + self.detail % 10
            return 4
        }
    }
}

extension CoAPCode {
    package static let empty = Self(0, 00)
    package static let get = Self(0, 01)
    package static let post = Self(0, 02)
    package static let put = Self(0, 03)
    package static let delete = Self(0, 04)
    package static let fetch = Self(0, 05)
    package static let patch = Self(0, 06)
    package static let iPatch = Self(0, 07)

    package static let created = Self(2, 01)
    package static let deleted = Self(2, 02)
    package static let valid = Self(2, 03)
    package static let changed = Self(2, 04)
    package static let content = Self(2, 05)
    package static let `continue` = Self(2, 31)

    package static let badRequest = Self(4, 00)
    package static let unauthorized = Self(4, 01)
    package static let badOption = Self(4, 02)
    package static let forbidden = Self(4, 03)
    package static let notFound = Self(4, 04)
    package static let methodNotAllowed = Self(4, 05)
    package static let notAcceptable = Self(4, 06)
    package static let requestEntityIncomplete = Self(4, 08)
    package static let conflict = Self(4, 09)
    package static let preconditionFailed = Self(4, 12)
    package static let requestEntityTooLarge = Self(4, 13)
    package static let unsupportedContentFormat = Self(4, 15)
    package static let unprocessableEntity = Self(4, 22)
    package static let tooManyRequests = Self(4, 29)

    package static let internalServerError = Self(5, 00)
    package static let notImplemented = Self(5, 01)
    package static let badGateway = Self(5, 02)
    package static let serviceUnavailable = Self(5, 03)
    package static let gatewayTimeout = Self(5, 04)
    package static let proxyingNotSupported = Self(5, 05)
    package static let hopLimitReached = Self(5, 08)
}
