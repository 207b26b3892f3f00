/// A checkpoint outside of the journal: whoever keeps one elsewhere can show later that the journal still holds all that
/// it held then. Only its number and hash are compared; the rest makes it possible to check it without the journal.
package struct JournalAnchor: Sendable, Equatable {
    package var seq: UInt64
    package var time: String
    package var node: String
    /// 64 lower-case hexadecimal digits each.
    package var previous: String
    package var hash: String
    /// Public key and signature, hexadecimal.
    package var key: String
    package var signature: String

    package init(
        seq: UInt64, time: String, node: String, previous: String, hash: String, key: String, signature: String
    ) {
        self.seq = seq
        self.time = time
        self.node = node
        self.previous = previous
        self.hash = hash
        self.key = key
        self.signature = signature
    }

    /// The checkpoint that a record is; nil for other records.
    init?(_ entry: JournalEntry) {
        guard entry.isCheckpoint, let seq = entry.value["seq"]?.integer, seq > 0,
            let previous = entry.value["previous"]?.text, let hash = entry.value["hash"]?.text,
            let key = entry.detail["key"]?.text, let signature = entry.detail["signature"]?.text
        else { return nil }
        self.init(
            seq: UInt64(seq), time: entry.time, node: entry.node, previous: previous, hash: hash, key: key,
            signature: signature
        )
    }

    /// Reads what ``text`` has written.
    package init(text: String) throws(RecordsError) {
        guard let value = try? JSONReader.read(Array(text.utf8)), let seq = value["seq"]?.integer, seq > 0,
            let time = value["time"]?.text, let node = value["node"]?.text, let previous = value["previous"]?.text,
            let hash = value["hash"]?.text, JournalHash(text: previous) != nil, JournalHash(text: hash) != nil,
            let key = value["key"]?.text, let signature = value["signature"]?.text
        else {
            throw RecordsError(
                .badData, "the anchor is no exported checkpoint",
                remedy: "name a file that audit export --anchor has written"
            )
        }
        self.init(
            seq: UInt64(seq), time: time, node: node, previous: previous, hash: hash, key: key, signature: signature
        )
    }

    /// One line of JSON with a line feed.
    package var text: String {
        var writer = JSONWriter()
        writer.raw("{\"seq\":")
        writer.integer(self.seq)
        let members: [(StaticString, String)] = [
            (",\"time\":", self.time), (",\"node\":", self.node), (",\"previous\":", self.previous),
            (",\"hash\":", self.hash), (",\"key\":", self.key), (",\"signature\":", self.signature),
        ]
        for (name, value) in members {
            writer.raw(name)
            writer.text(value)
        }
        writer.raw("}\n")
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    /// Whether one of `keys` has signed it.
    func isSigned(by keys: [[UInt8]]) -> Bool {
        guard let key = hexadecimalBytes(self.key), let signature = hexadecimalBytes(self.signature),
            keys.contains(key)
        else { return false }
        let text = JournalEncoder.checkpointText(
            seq: self.seq, time: self.time, node: self.node, previous: self.previous
        )
        return JournalKey.isValid(signature, of: text, by: key)
    }

    /// The newest checkpoint of a journal whose record is whole and whose signature is of a trusted key; nil when there is
    /// none.
    package static func newest(state: String, trust: JournalTrust) throws(RecordsError) -> JournalAnchor? {
        let segments = JournalSegments(directory: state + "/audit")
        for number in try segments.numbers().reversed() {
            guard var reader = try segments.reader(number) else { continue }
            var newest: JournalAnchor?
            while let line = try reader.next() {
                guard line.isComplete, JournalLine.isCheckpoint(line.bytes),
                    let record = JournalLine(line.bytes), record.isAuthentic, let entry = JournalEntry(line.bytes),
                    let anchor = JournalAnchor(entry), anchor.isSigned(by: trust.keys)
                else { continue }
                newest = anchor
            }
            if let newest { return newest }
        }
        return nil
    }
}

extension JournalLine {
    /// Whether the line is one of the journal's own signatures.
    static func isCheckpoint(_ line: ArraySlice<UInt8>) -> Bool {
        line.withUnsafeBytes { JournalFields($0)?.event.isText("journal.checkpoint") ?? false }
    }
}
