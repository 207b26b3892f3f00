import LwM2M
import Testing

/// Depth, counts and lengths of what a hostile server can write. Limits that every format shares are with the rules of CBOR.
@Suite("T46: limits of each format")
struct LimitTests {
    private static let instance = LwM2MPath(42, 0)

    private func reason(_ payload: [UInt8], _ format: ContentFormat, at path: LwM2MPath = Self.instance)
        -> PayloadError.Reason?
    {
        do {
            _ = try PayloadCodec.decode(payload, format, at: path)
            return nil
        } catch { return error.reason }
    }

    @Test("T46: OMA JSON is nested no deeper and has no more values than SenML JSON")
    func omaJSON() {
        func nested(_ depth: Int) -> [UInt8] {
            let value = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
            return Array("{\"e\":[{\"n\":\"0\",\"v\":1}],\"x\":\(value)}".utf8)
        }
        #expect(self.reason(nested(7), .json) == nil)
        #expect(self.reason(nested(8), .json) == .tooDeep)
        #expect(self.reason(nested(30_000), .json) == .tooDeep)
        let many = "{\"e\":[{\"n\":\"0\",\"v\":1}],\"x\":[" + String(repeating: "1,", count: 20_000) + "1]}"
        #expect(self.reason(Array(many.utf8), .json) == .tooManyItems)
    }

    @Test("T46: maps of LwM2M CBOR end at the fourth level, and keys do", arguments: [5, 100, 30_000])
    func lwm2mCBOR(depth: Int) {
        var maps: [UInt8] = []
        for _ in 0..<depth { maps += [0xA1, 0] }
        maps += [0]
        #expect(self.reason(maps, .lwm2mCBOR) == .badName)
        let key = ([0xA1, 0x9F] as [UInt8]) + [UInt8](repeating: 0, count: depth) + [0xFF, 0]
        #expect(self.reason(key, .lwm2mCBOR) == .badName)
        let arrays = ([0xA1] as [UInt8]) + [UInt8](repeating: 0x81, count: depth) + [0, 0]
        #expect(self.reason(arrays, .lwm2mCBOR) == .badName)
    }

    @Test("T46: pieces of a text or of bytes are counted, empty ones too", arguments: [0x40, 0x60] as [UInt8])
    func chunks(kind: UInt8) {
        let head: [UInt8] = [0xA1, 0, kind | 0x1F]
        func document(_ count: Int) -> [UInt8] { head + [UInt8](repeating: kind, count: count) + [0xFF] }
        #expect(self.reason(document(10_000), .lwm2mCBOR) == nil)
        #expect(self.reason(document(20_000), .lwm2mCBOR) == .tooManyItems)
    }

    @Test(
        "T46: a length that the payload does not have reserves nothing",
        arguments: [0x9B, 0xBB, 0x5B, 0x7B] as [UInt8], [.senMLCBOR, .lwm2mCBOR] as [ContentFormat]
    )
    func announced(head: UInt8, format: ContentFormat) {
        #expect(self.reason([head] + [UInt8](repeating: 0xFF, count: 8), format) != nil)
        #expect(self.reason([head, 0x7F] + [UInt8](repeating: 0xFF, count: 7) + [0, 0], format) != nil)
        #expect(self.reason([head, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1], format) != nil)
    }

    @Test("T46: a number of JSON is read in one pass, however long it is")
    func longNumbers() {
        let digits = String(repeating: "9", count: 60_000)
        for number in [digits, "0." + digits, "1e" + digits, "-1.\(digits)e-\(digits.prefix(5))"] {
            let known = Array("[{\"n\":\"/0/0/10\",\"v\":\(number)}]".utf8)
            #expect(self.reason(known, .senMLJSON, at: LwM2MPath(0, 0)) != nil)
        }
    }

    @Test("T46: a TLV record that names more bytes than there are is refused at its head")
    func tlvLengths() {
        for payload: [UInt8] in [[0xD8, 0, 0xFF, 0xFF, 0xFF], [0xC8, 0, 0xFF], [0xD0, 0, 0xFF, 0xFF], [0xC7, 0]] {
            guard case .tlv(let error)? = self.reason(payload, .tlv) else {
                Issue.record("\(payload) is no TLV error")
                continue
            }
            #expect(error.reason == .overrun)
        }
    }
}
