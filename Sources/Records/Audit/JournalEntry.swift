/// A record of the journal as people see it: the line as it stands, and its members.
package struct JournalEntry: Sendable, Equatable {
    /// The line without its line feed, fit for output on a terminal.
    package let line: String
    /// All members in their order.
    package let value: JSONValue

    init?(_ bytes: ArraySlice<UInt8>) {
        guard let value = try? JSONReader.read(bytes) else { return nil }
        self.line = String(decoding: bytes, as: UTF8.self)
        self.value = value
    }

    package var seq: Int64 { self.value["seq"]?.integer ?? 0 }
    /// UTC, ISO 8601 with microseconds.
    package var time: String { self.value["time"]?.text ?? "" }
    package var node: String { self.value["node"]?.text ?? "" }
    package var event: String { self.value["event"]?.text ?? "" }
    package var cause: String? { self.value["cause"]?.text }
    package var iccid: String? { self.value["iccid"]?.text }
    package var endpoint: String? { self.value["endpoint"]?.text }
    package var peer: String? { self.value["peer"]?.text }
    package var upstream: String? { self.value["upstream"]?.text }
    package var session: Int64? { self.value["session"]?.integer }
    package var detail: JSONValue { self.value["detail"] ?? .object([]) }

    /// Whether the record is one of the journal's own signatures.
    package var isCheckpoint: Bool { self.event == JournalEncoder.checkpointEvent }
}
