internal import CoAP
internal import LwM2M

/// Documents of 64 KiB, made to cost as much as they can. Each is to cost less than 5 ms.
enum HostileDocuments {
    private static let size = PayloadCodec.maximumSize

    private struct Document {
        let name: String
        let format: ContentFormat
        let path: LwM2MPath
        let bytes: [UInt8]

        init(_ name: String, _ format: ContentFormat, _ path: LwM2MPath, _ bytes: [UInt8]) {
            self.name = name
            self.format = format
            self.path = path
            self.bytes = Array(bytes.prefix(HostileDocuments.size))
        }
    }

    static func measure(_ harness: Harness) {
        for document in Self.tlv + Self.json + Self.cbor + Self.values {
            harness.measure("64 KiB " + document.name, bytes: document.bytes.count) {
                (try? PayloadCodec.decode(document.bytes, document.format, at: document.path)) == nil ? 0 : 1
            }
        }
        let lists = [
            ("a link for ever", Self.text("</0/0>", ",</3>")), ("attributes", Self.text("</3>", ";a")),
            ("attributes in quotes", Self.text("</3>;a=\"", "\\\"", "\"")), ("blanks", Self.text("</3>,", " ")),
            (
                "999 links",
                Array(
                    (0..<999).map { "</42/\($0)>;ver=1.1;x=\"\(String(repeating: "y", count: 40))\"" }
                        .joined(separator: ",").utf8)
            ),
        ]
        for (name, list) in lists {
            harness.measure("64 KiB links: " + name, bytes: list.count) { (try? LinkFormat(list))?.links.count ?? 0 }
        }
        // A datagram is never longer than this.
        let options = [0x40, 3, 0, 1] as [UInt8] + [UInt8](repeating: 0x00, count: 65_000)
        harness.measure("64 KiB CoAP: options without a value", bytes: options.count) {
            options.withUnsafeBytes { (try? CoAPCodec.decode($0)) == nil ? 0 : 1 }
        }
    }

    /// `unit` until the document is full, between what is before and after it.
    private static func filled(_ head: [UInt8], _ unit: [UInt8], _ tail: [UInt8] = []) -> [UInt8] {
        var bytes = head
        while bytes.count + unit.count + tail.count <= Self.size { bytes += unit }
        return bytes + tail
    }

    private static func text(_ head: String, _ unit: String, _ tail: String = "") -> [UInt8] {
        Self.filled(Array(head.utf8), Array(unit.utf8), Array(tail.utf8))
    }

    /// The bytes of 1000 records, made of the two bytes of their numbers.
    private static func records(_ record: (UInt8, UInt8) -> [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        for id in (0..<1000).reversed() { bytes += record(UInt8(id >> 8), UInt8(id & 0xff)) }
        return bytes
    }

    private static var tlv: [Document] {
        let object = LwM2MPath(42)
        // Descending numbers.
        let resources = Self.records { [0xE0, $0, $1] }
        let value = [UInt8](repeating: 1, count: 60)
        let long = Self.records { [0xE8, $0, $1, 60] + value }
        let instances = Self.records { [0x20, $0, $1] }
        return [
            Document("TLV: 1000 resources", .tlv, LwM2MPath(42, 0), resources),
            Document("TLV: 1000 resources of 60 bytes", .tlv, LwM2MPath(42, 0), long),
            Document("TLV: 1000 instances", .tlv, object, instances),
            Document("TLV: one resource number for ever", .tlv, object, Self.filled([], [0xC0, 0])),
            Document("TLV: instances around nothing", .tlv, object, Self.filled([], [0x00, 0])),
        ]
    }

    private static var json: [Document] {
        let instance = LwM2MPath(42, 0)
        let records = (0..<1000).reversed().map { "{\"n\":\"/42/0/\($0)\",\"v\":\($0)e2}" }.joined(separator: ",")
        let entries = (0..<1000).reversed().map { "{\"n\":\"\($0)\",\"v\":\($0).5}" }.joined(separator: ",")
        let digits = String(repeating: "1", count: 60_000)
        let name = String(repeating: "\\u0031", count: 10_000)
        let unknown = (0..<5000).map { "\"x\($0)\":0" }.joined(separator: ",")
        return [
            Document("SenML JSON: 1000 values", .senMLJSON, instance, Array("[\(records)]".utf8)),
            Document(
                "SenML JSON: a number of 60,000 digits", .senMLJSON, instance,
                Array("[{\"n\":\"/42/0/0\",\"v\":\(digits)}]".utf8)),
            Document(
                "SenML JSON: a number of 60,000 decimals", .senMLJSON, LwM2MPath(0, 0),
                Array("[{\"n\":\"/0/0/10\",\"v\":1.\(digits)e60000}]".utf8)),
            Document(
                "SenML JSON: a text of escapes", .senMLJSON, instance,
                Array("[{\"n\":\"/42/0/0\",\"vs\":\"\(name)\"}]".utf8)),
            Document(
                "SenML JSON: a name of escapes", .senMLJSON, instance, Array("[{\"n\":\"\(name)\",\"v\":1}]".utf8)),
            Document(
                "SenML JSON: unknown fields", .senMLJSON, instance,
                Array("[{\"n\":\"/42/0/0\",\"v\":1,\(unknown)}]".utf8)),
            Document("SenML JSON: empty records", .senMLJSON, instance, Self.text("[{}", ",{}", "]")),
            Document(
                "SenML JSON: a long base name and records", .senMLJSON, instance,
                Self.text(
                    "[{\"bn\":\"/42/0/\(String(repeating: "1", count: 30_000))\",\"n\":\"1\",\"v\":1}",
                    ",{\"n\":\"1\",\"v\":1}", "]")),
            Document("SenML JSON: spaces", .senMLJSON, instance, Self.text("[", " ", "]")),
            Document("SenML JSON: nested arrays", .senMLJSON, instance, Self.text("", "[")),
            Document("OMA JSON: 1000 values", .json, instance, Array("{\"e\":[\(entries)]}".utf8)),
            Document("OMA JSON: empty entries", .json, instance, Self.text("{\"e\":[{}", ",{}", "]}")),
            Document(
                "OMA JSON: Base64", .json, LwM2MPath(0, 0), Self.text("{\"e\":[{\"n\":\"5\",\"sv\":\"", "QUJD", "\"}]}")
            ),
        ]
    }

    private static var cbor: [Document] {
        let instance = LwM2MPath(42, 0)
        let name = Array("/42/0/0".utf8)
        var records: [UInt8] = []
        for id in (0..<1000).reversed() {
            let name = Array("/42/0/\(id)".utf8)
            records += [0xA2, 0, 0x60 + UInt8(name.count)]
            records += name
            records += [2, 0x19, 1, 0]
        }
        let pairs = Self.records { [0x19, $0, $1, 0x19, 1, 0] }
        var head: [UInt8] = [0x81, 0xA3, 0, 0x67]
        head += name
        head += [2, 1, 0x18, 99]
        var fields: [UInt8] = [0x81, 0xBF, 0, 0x67]
        fields += name
        fields += [2, 1]
        for id in 300..<5300 { fields += [0x19, UInt8(id >> 8), UInt8(id & 0xff), 0] }
        fields += [0xFF]
        var chunks: [UInt8] = [0x81, 0xA2, 0, 0x67]
        chunks += name
        chunks += [8, 0x5F]
        return [
            Document("SenML CBOR: 1000 values", .senMLCBOR, instance, ([0x9F] as [UInt8]) + records + [0xFF]),
            Document(
                "SenML CBOR: unknown fields", .senMLCBOR, instance, fields),
            Document("SenML CBOR: empty chunks", .senMLCBOR, instance, Self.filled(chunks, [0x40], [0xFF])),
            Document("SenML CBOR: chunks of a byte", .senMLCBOR, instance, Self.filled(chunks, [0x41, 0], [0xFF])),
            Document("SenML CBOR: items to be ignored", .senMLCBOR, instance, Self.filled(head + [0x9F], [0], [0xFF])),
            Document("SenML CBOR: nested arrays", .senMLCBOR, instance, Self.filled(head, [0x81])),
            Document("SenML CBOR: tags", .senMLCBOR, instance, Self.filled(head, [0xC1])),
            Document("SenML CBOR: empty records", .senMLCBOR, instance, Self.filled([0x9F], [0xA0], [0xFF])),
            Document("LwM2M CBOR: 1000 values", .lwm2mCBOR, instance, ([0xBF] as [UInt8]) + pairs + [0xFF]),
            Document(
                "LwM2M CBOR: long keys", .lwm2mCBOR, instance, Self.filled([0xBF], [0x84, 0, 0, 0, 0, 1], [0xFF])),
            Document("LwM2M CBOR: maps of nothing", .lwm2mCBOR, LwM2MPath(42), Self.filled([0xBF], [0, 0xA0], [0xFF])),
            Document("LwM2M CBOR: nested maps", .lwm2mCBOR, instance, Self.filled([], [0xA1, 0])),
        ]
    }

    private static var values: [Document] {
        [
            Document("text: digits", .text, LwM2MPath(0, 0, 10), Self.text("", "1")),
            Document("text: Base64", .text, LwM2MPath(0, 0, 5), Self.text("", "QUJD")),
            Document("CBOR: chunks of text", .cbor, LwM2MPath(0, 0, 0), Self.filled([0x7F], [0x61, 0x61], [0xFF])),
        ]
    }
}
