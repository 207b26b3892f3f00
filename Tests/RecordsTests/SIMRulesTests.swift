import Gateway
import Secrets
import Testing

@testable import Records

@Suite("What a SIM record may say")
struct SIMRulesTests {
    let rules = SIMRules()

    private func record(
        _ values: [SIMField: String],
        existing: SIMRecord? = nil,
        rules: SIMRules? = nil
    ) throws -> SIMRules.Outcome {
        var fields = SIMFields(values)
        if fields[.iccid] == nil { fields[.iccid] = iccid(1) }
        return try (rules ?? self.rules).record(try ICCID(fields[.iccid] ?? ""), from: fields, existing: existing)
    }

    @Test("An ICCID is stored as digits, whatever stands between and behind them")
    func iccidForms() throws {
        let plain = iccid(42)
        #expect(try ICCID(plain).digits == plain)
        #expect(try ICCID("\(plain.prefix(5)) \(plain.dropFirst(5).prefix(7))-\(plain.dropFirst(12))").digits == plain)
        #expect(try ICCID(plain + "F").digits == plain)
        #expect(try ICCID(iccid(42, digits: 20)).digits.count == 20)
    }

    @Test(
        "An ICCID of another length, with other characters or with a wrong check digit is refused",
        arguments: [
            "", "898830", "89883000000000000x2", "8988300000000000042F1", "F" + String(repeating: "1", count: 19),
        ]
    )
    func badICCIDs(text: String) {
        #expect(throws: RecordsError.self) { try ICCID(text) }
    }

    @Test("Each single mistyped digit of an ICCID is found")
    func luhn() throws {
        let good = Array(iccid(123_456).utf8)
        for position in good.indices {
            for digit in UInt8(ascii: "0")...UInt8(ascii: "9") where digit != good[position] {
                var bad = good
                bad[position] = digit
                #expect(throws: RecordsError.self) { try ICCID(String(decoding: bad, as: UTF8.self)) }
            }
        }
    }

    @Test("Identity and endpoint are the ICCID unless a pattern or a field says otherwise")
    func defaults() throws {
        let plain = try self.record([:]).record
        #expect(plain.identity.text == iccid(1))
        #expect(plain.endpoint == iccid(1))
        let rules = SIMRules(
            identity: try NamePattern("{device-id}-{iccid}"),
            endpoint: try NamePattern("urn:imei:{imei}")
        )
        let named = try self.record([.deviceID: "m7", .imei: "350123456789012"], rules: rules).record
        #expect(named.identity.text == "m7-\(iccid(1))")
        #expect(named.endpoint == "urn:imei:350123456789012")
        let given = try self.record([.identity: "abc", .endpoint: "def"], rules: rules).record
        #expect(given.identity.text == "abc")
        #expect(given.endpoint == "def")
    }

    @Test("A pattern that needs a field which the record lacks names that field")
    func missingPatternField() throws {
        let rules = SIMRules(identity: try NamePattern("{imsi}"))
        let error = #expect(throws: RecordsError.self) { try self.record([:], rules: rules) }
        #expect(error?.description.contains("imsi") == true)
    }

    @Test(
        "A pattern without a placeholder, or with an unknown one, is refused",
        arguments: ["", "abc", "{x}", "{iccid", "}"]
    )
    func badPatterns(text: String) {
        #expect(throws: RecordsError.self) { try NamePattern(text) }
    }

    @Test("An identity above 29 bytes is taken with a warning, above 128 refused")
    func identityLength() throws {
        #expect(try self.record([.identity: String(repeating: "a", count: 29), .key: keyDigits]).warnings.isEmpty)
        #expect(try self.record([.identity: String(repeating: "a", count: 30), .key: keyDigits]).warnings.count == 1)
        #expect(try self.record([.identity: String(repeating: "a", count: 128), .key: keyDigits]).warnings.count == 1)
        #expect(throws: RecordsError.self) { try self.record([.identity: String(repeating: "a", count: 129)]) }
        #expect(throws: RecordsError.self) { try self.record([.identity: "a\0b"]) }
    }

    @Test("A key has 16 to 64 bytes in hexadecimal")
    func keyLengths() throws {
        for count in [15, 16, 17, 63, 64, 65] {
            let text = String(repeating: "a7", count: count)
            if (16...64).contains(count) {
                #expect(try self.record([.key: text]).record.key?.count == count)
            } else {
                #expect(throws: RecordsError.self) { try self.record([.key: text]) }
            }
        }
    }

    @Test(
        "A key in another notation is refused with a hint, and is not repeated",
        arguments: [
            ("correct-horse-battery-staple", "looks like text"), ("0x" + keyDigits, "0x"),
            ("00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff", "between the digits"),
            ("ABEiM0RVZneImaq7zN3u/w==", "base64"), ("0" + keyDigits, "odd number"),
            ("1234567890123456", "two hexadecimal digits"), ("generate", "shown only once"),
        ]
    )
    func keyHints(text: String, hint: String) {
        let error = #expect(throws: RecordsError.self) { try KeyNotation.parse(text) }
        #expect(error?.description.contains(hint) == true)
        if text != "generate" && text != "0x" { #expect(error?.description.contains(text) == false) }
    }

    @Test("An update keeps what it does not mention, clears what it empties, and never clears a key by emptiness")
    func updates() throws {
        let first = try self.record([
            .key: keyDigits, .identity: "one", .group: "north", .note: "n", .imsi: "262010000000001",
            .address: "192.0.2.7", .profile: "plain",
        ]).record
        let second = try self.record([.group: "", .key: "", .note: "m"], existing: first).record
        #expect(second.group == nil)
        #expect(second.note == "m")
        #expect(second.key == first.key)
        #expect(second.identity == first.identity)
        #expect(second.imsi == first.imsi)
        #expect(second.addresses == first.addresses)
        #expect(second.profile == .plain)
        let third = try self.record([.identity: "", .address: "", .profile: ""], existing: second).record
        #expect(third.identity.text == iccid(1))
        #expect(third.addresses.isEmpty)
        #expect(third.profile == .follow)
    }

    @Test("Addresses may be several, IPv4-mapped ones are IPv4, and doubles count once")
    func addresses() throws {
        let record = try self.record([.address: "192.0.2.7, ::ffff:192.0.2.7;10.0.0.0/8 2001:db8::/32"]).record
        #expect(record.addresses.map(\.description) == ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"])
        #expect(throws: RecordsError.self) { try self.record([.address: "192.0.2.0/33"]) }
        #expect(throws: RecordsError.self) { try self.record([.address: "example.net"]) }
    }

    @Test(
        "A field with a value that it does not allow is refused by name",
        arguments: [
            (SIMField.status, "asleep"), (.profile, "both"), (.endpointPolicy, "ignore"), (.imsi, "12a"),
            (.imei, "1"), (.msisdn, "+"), (.note, "a\u{1B}[2J"), (.endpoint, String(repeating: "e", count: 253)),
        ]
    )
    func badValues(field: SIMField, value: String) {
        if field == .msisdn {
            #expect(throws: Never.self) { try self.record([field: value]) }
        } else {
            let error = #expect(throws: RecordsError.self) { try self.record([field: value]) }
            #expect(error?.description.hasPrefix(field.rawValue) == true)
        }
    }

    @Test("Field texts, which may hold a key, never print")
    func fieldsDoNotPrint() {
        let fields = SIMFields([.key: keyDigits])
        var dumped = ""
        dump(fields, to: &dumped)
        for text in [fields.description, fields.debugDescription, "\(fields)", dumped] {
            #expect(!text.contains(keyDigits))
        }
    }

    @Test("Arguments are FIELD=VALUE, each field once")
    func arguments() throws {
        #expect(try SIMFields(arguments: ["group=a=b", "note="]).values == [.group: "a=b", .note: ""])
        for bad in [["group"], ["grp=a"], ["group=a", "group=b"]] {
            #expect(throws: RecordsError.self) { try SIMFields(arguments: bad) }
        }
    }
}
