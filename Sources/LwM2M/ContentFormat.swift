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
    /// The numbers that text, TLV and JSON had before they were registered; some servers still send them.
    package static let oldText = ContentFormat(rawValue: 1541)
    package static let oldTLV = ContentFormat(rawValue: 1542)
    package static let oldJSON = ContentFormat(rawValue: 1543)

    /// The number of today for a number from before LwM2M 1.0; every other number is its own.
    package var registered: ContentFormat {
        switch self {
        case .oldText: .text
        case .oldTLV: .tlv
        case .oldJSON: .json
        default: self
        }
    }

    /// Whether the payload is TLV, under either number.
    package var isTLV: Bool { self.registered == .tlv }

    /// As messages name it: `SenML CBOR (112)`. The number alone when nothing is known of it.
    package var name: String {
        let name: String? =
            switch self.registered {
            case .text: "text"
            case .linkFormat: "link format"
            case .octetStream: "octet-stream"
            case .cbor: "CBOR"
            case .senMLJSON: "SenML JSON"
            case .senMLCBOR: "SenML CBOR"
            case .tlv: "TLV"
            case .json: "JSON"
            case .lwm2mCBOR: "LwM2M CBOR"
            default: nil
            }
        return name.map { "\($0) (\(self))" } ?? self.description
    }
}

extension ContentFormat: CustomStringConvertible {
    package var description: String { String(self.rawValue) }
}
