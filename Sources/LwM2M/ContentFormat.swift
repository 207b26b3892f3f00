/// The CoAP Content-Formats that LwM2M uses (spec 3.1).
package struct ContentFormat: RawRepresentable, Hashable, Sendable {
    package let rawValue: UInt16

    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let text = ContentFormat(rawValue: 0)
    package static let linkFormat = ContentFormat(rawValue: 40)
    package static let octetStream = ContentFormat(rawValue: 42)
    package static let cbor = ContentFormat(rawValue: 60)
    package static let senMLJSON = ContentFormat(rawValue: 110)
    package static let senMLCBOR = ContentFormat(rawValue: 112)
    package static let tlv = ContentFormat(rawValue: 11542)
    package static let json = ContentFormat(rawValue: 11543)
    package static let lwm2mCBOR = ContentFormat(rawValue: 11544)
    /// The number that TLV had before it was registered; some servers still send it.
    package static let oldTLV = ContentFormat(rawValue: 1542)

    /// Whether the payload is TLV, under either number.
    package var isTLV: Bool { self == .tlv || self == .oldTLV }
}

extension ContentFormat: CustomStringConvertible {
    package var description: String { String(self.rawValue) }
}
