internal import Gateway

/// A record that signs everything before it.
///
/// Its `detail` is `{"key":ID,"signature":HEX}`. Signed are the ASCII bytes
///
///     bootgate audit checkpoint
///     SEQ
///     TIME
///     PREVIOUS
///
/// with a line feed after each line: the checkpoint's own number and time as they stand in the record, and the hash of
/// the record before it. That hash covers the hash before it and so on, so the signature proves every record since the
/// first.
enum AuditCheckpoint {
    static let event = "checkpoint"

    static func message(seq: UInt64, time: Int64, previous: [UInt8]) -> [UInt8] {
        var message = Array("bootgate audit checkpoint\n\(seq)\n".utf8)
        AuditTime.append(time, to: &message)
        message.append(UInt8(ascii: "\n"))
        message.append(contentsOf: previous)
        message.append(UInt8(ascii: "\n"))
        return message
    }

    static func detail(keyID: String, signature: [UInt8]) -> [AuditEvent.Field] {
        [.init("key", .text(keyID)), .init("signature", .text(AuditText.hexadecimal(signature)))]
    }

    /// Key and signature of a checkpoint's `detail`; nil when it is anything else.
    static func parse(_ detail: [AuditEvent.Field]) -> (keyID: String, signature: [UInt8])? {
        guard detail.count == 2, detail[0].key == "key", detail[1].key == "signature",
            case .text(let keyID) = detail[0].value, case .text(let digits) = detail[1].value,
            let signature = AuditText.bytes(hexadecimal: digits.utf8), signature.count == 64
        else { return nil }
        return (keyID, signature)
    }
}
