import Gateway
import Testing

@testable import Records

@Suite("Reading import files")
struct FormatTests {
    private func rows(_ format: some ImportFormat, _ text: String, pieces: [Int] = []) throws -> [ImportRow] {
        var format = format
        var rows: [ImportRow] = []
        var bytes = Array(text.utf8)[...]
        for count in pieces where !bytes.isEmpty {
            rows += try format.rows(from: Array(bytes.prefix(count)))
            bytes = bytes.dropFirst(count)
        }
        if !bytes.isEmpty { rows += try format.rows(from: Array(bytes)) }
        return rows + (try format.rows(from: []))
    }

    private func values(_ row: ImportRow) throws -> [SIMField: String] { try row.fields.get().values }

    private static let sample =
        "\u{FEFF}iccid,note,key\r\n1,\"a, \"\"b\"\"\r\nc\",k\r\n\r\n2,,\n3,\"\",\"x\""

    @Test("Quoted cells hold commas, line ends and quotation marks, and rows know their line")
    func quotedCells() throws {
        let rows = try self.rows(CSVFormat(), Self.sample)
        #expect(rows.map(\.line) == [2, 5, 6])
        #expect(try self.values(rows[0]) == [.iccid: "1", .note: "a, \"b\"\r\nc", .key: "k"])
        #expect(try self.values(rows[1]) == [.iccid: "2", .note: "", .key: ""])
        #expect(try self.values(rows[2]) == [.iccid: "3", .note: "", .key: "x"])
    }

    @Test("It makes no difference in which pieces a file comes", arguments: 1...40)
    func pieces(seed: Int) throws {
        var random = Seeded(state: UInt64(seed))
        let sizes = (0..<60).map { _ in Int.random(in: 1...7, using: &random) }
        let whole = try self.rows(CSVFormat(), Self.sample)
        let cut = try self.rows(CSVFormat(), Self.sample, pieces: sizes)
        #expect(cut.map(\.line) == whole.map(\.line), "seed \(seed)")
        #expect(try cut.map(self.values) == whole.map(self.values), "seed \(seed)")
        let lines = "{\"iccid\": 1}\n\n{\"iccid\":\"2\",\"address\":[\"a\",\"b\"],\"note\":null}"
        let json = try self.rows(JSONLinesFormat(), lines, pieces: sizes)
        #expect(json.map(\.line) == [1, 3], "seed \(seed)")
        #expect(
            try json.map(self.values) == [[.iccid: "1"], [.iccid: "2", .address: "a b", .note: ""]],
            "seed \(seed)"
        )
    }

    @Test(
        "A byte order mark at the start is no part of the first record, in whatever pieces it comes", arguments: 1...4)
    func byteOrderMark(piece: Int) throws {
        let pieces = [piece, 1, 1, 1]
        let csv = try self.rows(CSVFormat(), "\u{FEFF}iccid\n1\n", pieces: pieces)
        #expect(try csv.map(self.values) == [[.iccid: "1"]])
        let json = try self.rows(JSONLinesFormat(), "\u{FEFF}{\"iccid\":1}\n{\"iccid\":2}\n", pieces: pieces)
        #expect(try json.map(self.values) == [[.iccid: "1"], [.iccid: "2"]])
        let inside = try self.rows(JSONLinesFormat(), "{\"iccid\":1}\n\u{FEFF}{\"iccid\":2}\n", pieces: pieces)
        #expect(throws: RecordsError.self) { try inside[1].fields.get() }
    }

    @Test(
        "A defect of one row is the fault of that row alone",
        arguments: ["2,\"a\"b,c", "2,a\"b,c", "2,a", "2,a,b,c", "2,a\rb,c"]
    )
    func defects(row: String) throws {
        let rows = try self.rows(CSVFormat(), "iccid,note,key\n1,a,b\n\(row)\n3,a,b\n")
        #expect(rows.count == 3)
        #expect(throws: RecordsError.self) { try rows[1].fields.get() }
        #expect(try self.values(rows[2])[.iccid] == "3")
    }

    @Test("A cell that is not UTF-8 is refused by the name of its field")
    func invalidUTF8() throws {
        var format = CSVFormat()
        let rows = try format.rows(from: Array("iccid,note\n1,".utf8) + [0xFF, 0x0A])
        let error = #expect(throws: RecordsError.self) { try rows[0].fields.get() }
        #expect(error?.description.contains("note") == true)
    }

    @Test(
        "A header that names no fields is refused, and what stands in its place is not shown",
        arguments: ["", "\n", "\(iccid(1)),\(keyDigits)\n", "iccid,iccid\n", "identity,key\n", "iccid,\"key\"x\n"]
    )
    func headers(text: String) {
        let error = #expect(throws: RecordsError.self) { try self.rows(CSVFormat(), text) }
        #expect(error?.description.contains(keyDigits) == false)
    }

    @Test("A quotation mark that nobody closes does not fill the memory")
    func unclosedQuote() {
        let text = "iccid,note\n1,\"" + String(repeating: "x", count: CSVFormat.rowLimit)
        #expect(throws: RecordsError.self) { try self.rows(CSVFormat(), text) }
        #expect(throws: RecordsError.self) {
            try self.rows(JSONLinesFormat(), String(repeating: "x", count: JSONLinesFormat.lineLimit + 1))
        }
    }

    @Test(
        "A line that is no object of fields is a bad row",
        arguments: ["[]", "{\"iccid\":{}}", "{\"iccid\":true}", "{\"iccidd\":1}", "{\"iccid\":1", "{\"iccid\":1}x"]
    )
    func badLines(line: String) throws {
        let rows = try self.rows(JSONLinesFormat(), "\(line)\n{\"iccid\":1}\n")
        #expect(rows.count == 2)
        #expect(throws: RecordsError.self) { try rows[0].fields.get() }
    }

    @Test(
        "Texts that are not JSON are refused",
        arguments: [
            "", "{", "[1,]", "{\"a\":1,\"a\":2}", "01", "1.", "1e", "-", "\"\\x\"", "\"\\ud800\"", "\"a", "tru", "nul",
            "\"\u{1}\"", "{\"a\" 1}", "{,}", "[1 2]", String(repeating: "[", count: 100),
        ]
    )
    func notJSON(text: String) {
        #expect(throws: JSONReader.Failure.self) { try JSONReader.read(text.utf8) }
    }

    @Test("JSON keeps digits, order and escaped characters")
    func json() throws {
        let value = try JSONReader.read(
            " {\"b\":89883000000000000011,\"a\":[\"\\u00e9\\ud83d\\ude00\\n\",-1.5e+3,{}]} ".utf8
        )
        #expect(
            value
                == .object([
                    ("b", .number("89883000000000000011")),
                    ("a", .list([.text("é😀\n"), .number("-1.5e+3"), .object([])])),
                ])
        )
    }

    @Test("Random bytes never trap a reader", arguments: 1...50)
    func noise(seed: Int) {
        var random = Seeded(state: UInt64(seed))
        let alphabet = Array("{}[]\",:\\u09afe-+.trfn \r\n\u{7F}é,iccid".utf8) + [0, 0xFF, 0xC2]
        for _ in 0..<200 {
            let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                alphabet[Int.random(in: 0..<alphabet.count, using: &random)]
            }
            _ = try? JSONReader.read(bytes)
            var csv = CSVFormat()
            _ = try? csv.rows(from: Array("iccid,key\n".utf8) + bytes)
            let rows = try? csv.rows(from: [])
            #expect((rows?.count ?? 0) <= 40, "seed \(seed)")
        }
    }

    @Test("What was written as JSON reads back the same, and no control character stands in it", arguments: 1...30)
    func writtenTexts(seed: Int) throws {
        var random = Seeded(state: UInt64(seed))
        for _ in 0..<50 {
            let scalars = (0..<Int.random(in: 0...30, using: &random)).compactMap { _ in
                Unicode.Scalar(UInt32.random(in: 0...0x2100, using: &random))
            }
            let text = String(String.UnicodeScalarView(scalars))
            var writer = JSONWriter()
            writer.text(text)
            #expect(try JSONReader.read(writer.bytes) == .text(text), "seed \(seed)")
            let written = String(decoding: writer.bytes, as: UTF8.self).unicodeScalars
            #expect(
                written.allSatisfy {
                    $0.properties.generalCategory != .control && !(0x2028...0x202E).contains($0.value)
                },
                "seed \(seed)"
            )
        }
    }

    @Test("What must be escaped is escaped wherever it stands in a text", arguments: 0..<20)
    func escapedPlaces(place: Int) throws {
        let apart: Set<UInt8> = [0x22, 0x5C]
        var writer = JSONWriter(capacity: 1)
        for byte: UInt8 in 0..<0x80 {
            var plain = [UInt8](repeating: 0x61, count: 20)
            plain[place] = byte
            let text = String(decoding: plain, as: UTF8.self)
            writer.removeAll()
            writer.text(text)
            #expect(try JSONReader.read(writer.bytes) == .text(text), "byte \(byte)")
            let isPlain = byte >= 0x20 && byte < 0x7F && !apart.contains(byte)
            #expect((writer.count == plain.count + 2) == isPlain, "byte \(byte)")
        }
    }

    @Test("What is taken from a writer leaves nothing behind")
    func takenBytes() {
        var writer = JSONWriter(capacity: 4)
        writer.raw("{}")
        writer.integer(12345)
        #expect(writer.take() == Array("{}12345".utf8))
        #expect(writer.take() == [])
        writer.raw("[]")
        writer.truncate(to: 1)
        #expect(writer.bytes == Array("[".utf8))
    }

    @Test("A text above the limit is cut between characters")
    func longTexts() throws {
        var writer = JSONWriter()
        writer.text(String(repeating: "é", count: JSONWriter.textLimit))
        let text = try #require(try JSONReader.read(writer.bytes).text)
        #expect(text.utf8.count <= JSONWriter.textLimit + 3)
        #expect(text.hasSuffix("é…"))
    }

    @Test("Numbers are written in all their digits")
    func numbers() throws {
        for number in [Int64.min, -1, 0, 9, 10, .max] {
            var writer = JSONWriter()
            writer.integer(number)
            #expect(String(decoding: writer.bytes, as: UTF8.self) == String(number))
        }
        var writer = JSONWriter()
        writer.integer(UInt64.max)
        #expect(String(decoding: writer.bytes, as: UTF8.self) == String(UInt64.max))
    }
}
