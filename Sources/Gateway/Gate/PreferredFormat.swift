internal import LwM2M

/// `pct` of a Bootstrap-Request: the content format in which a device would like to be written to (T14, spec 1.2).
enum PreferredFormat {
    /// The gateway can rewrite it.
    case supported
    /// A format in which no accounts can be written here.
    case unsupported
    /// No decimal number of a content format in its one spelling.
    case malformed

    static func isParameter(_ parameter: String) -> Bool { parameter.hasPrefix("pct=") }

    /// The number in the first such parameter, if its format is supported.
    static func number(in query: [String]) -> UInt16? {
        guard let parameter = query.first(where: self.isParameter), case .supported = PreferredFormat(parameter) else {
            return nil
        }
        return UInt16(parameter.dropFirst(4))
    }

    /// Of the whole parameter.
    init(_ parameter: String) {
        let digits = parameter.utf8.dropFirst(4)
        guard !digits.isEmpty, digits.allSatisfy({ 0x30...0x39 ~= $0 }), digits.first != 0x30 || digits.count == 1,
            let number = UInt16(String(parameter.dropFirst(4)))
        else {
            self = .malformed
            return
        }
        switch ContentFormat(rawValue: number).registered {
        case .tlv, .json, .senMLJSON, .senMLCBOR, .lwm2mCBOR: self = .supported
        default: self = .unsupported
        }
    }
}
