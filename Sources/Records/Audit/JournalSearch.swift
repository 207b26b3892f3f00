package import Gateway

/// Texts with `*` for any characters and `?` for one, as shells have them. A list matches what one of it matches.
package struct TextPatterns: Sendable, Equatable {
    private let patterns: [[UInt8]]

    /// - Parameter texts: each one pattern, or several with commas between them.
    package init(_ texts: [String]) {
        self.patterns = texts.flatMap { $0.split(separator: ",") }
            .map { Array($0.trimmingPrefix { $0 == " " }.utf8) }
    }

    package var isEmpty: Bool { self.patterns.isEmpty }

    func matches(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { self.matches(UnsafeRawBufferPointer($0)) }
    }

    func matches(_ text: UnsafeRawBufferPointer) -> Bool {
        self.patterns.contains { pattern in pattern.withUnsafeBytes { Self.matches(text, $0) } }
    }

    /// Walks both; at a mismatch the last star takes one character more. No recursion, at most pattern times text steps.
    private static func matches(_ text: UnsafeRawBufferPointer, _ pattern: UnsafeRawBufferPointer) -> Bool {
        var (t, p) = (0, 0)
        var star: (text: Int, pattern: Int)?
        while t < text.count {
            if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
                star = (t, p)
                p += 1
            } else if p < pattern.count, pattern[p] == text[t] || pattern[p] == UInt8(ascii: "?") {
                t += 1
                p += 1
            } else if let last = star {
                star = (last.text + 1, last.pattern)
                (t, p) = (last.text + 1, last.pattern + 1)
            } else {
                return false
            }
        }
        return pattern[p...].allSatisfy { $0 == UInt8(ascii: "*") }
    }
}

/// What records are looked for; what is nil or empty does not matter.
package struct JournalFilter: Sendable {
    package var event: TextPatterns?
    package var cause: TextPatterns?
    package var iccid: TextPatterns?
    package var endpoint: TextPatterns?
    package var upstream: TextPatterns?
    package var peer: IPPrefix?
    /// Of the device; nil: any.
    package var peerPort: UInt16?
    package var session: UInt64?
    /// Microseconds since 1970, the first that counts.
    package var since: Int64? { didSet { self.sinceText = Self.text(self.since) } }
    /// Microseconds since 1970, the first that counts no more.
    package var until: Int64? { didSet { self.untilText = Self.text(self.until) } }
    /// A piece of text anywhere in the record, upper and lower case told apart.
    package var text: String? { didSet { self.needle = self.text.map(Self.needle) } }

    private var sinceText: [UInt8]?
    private var untilText: [UInt8]?
    private var needle: ByteNeedle?

    package init() {}

    private static func text(_ time: Int64?) -> [UInt8]? { time.map { Array(JournalTime.text($0).utf8) } }

    /// As the journal would have written it.
    private static func needle(_ text: String) -> ByteNeedle {
        var writer = JSONWriter()
        writer.text(text)
        return ByteNeedle(String(decoding: writer.bytes.dropFirst().dropLast(), as: UTF8.self))
    }

    /// Whether a line is looked for; nil for a line that is no record.
    func matches(_ line: UnsafeRawBufferPointer) -> Bool? {
        guard let fields = JournalFields(line) else { return nil }
        return self.matches(fields)
    }

    func matches(_ fields: JournalFields) -> Bool {
        if self.event == nil, fields.event.isText("journal.checkpoint") { return false }
        guard self.isInTime(fields.time),
            self.session == nil || fields.session == self.session,
            Self.matches(self.event, fields.event), Self.matches(self.cause, fields.cause),
            Self.matches(self.iccid, fields.iccid), Self.matches(self.upstream, fields.upstream),
            Self.matches(self.endpoint, fields.endpoint), self.isPeer(fields.peer)
        else { return false }
        return self.needle?.isIn(fields.content) ?? true
    }

    func isInTime(_ time: UnsafeRawBufferPointer) -> Bool {
        if let since = self.sinceText, time.lexicographicallyPrecedes(since) { return false }
        if let until = self.untilText, !time.lexicographicallyPrecedes(until) { return false }
        return true
    }

    private static func matches(_ patterns: TextPatterns?, _ text: UnsafeRawBufferPointer?) -> Bool {
        guard let patterns else { return true }
        guard let text else { return false }
        return text.contains(UInt8(ascii: "\\")) ? patterns.matches(text.recordText) : patterns.matches(text)
    }

    private func isPeer(_ text: UnsafeRawBufferPointer?) -> Bool {
        guard self.peer != nil || self.peerPort != nil else { return true }
        guard let text = text?.recordText, let colon = text.lastIndex(of: ":") else { return false }
        if let port = self.peerPort, UInt16(text[text.index(after: colon)...]) != port { return false }
        guard let prefix = self.peer else { return true }
        let host = text[..<colon].drop { $0 == "[" }.prefix { $0 != "]" }
        return IPAddress(host).map { prefix.contains($0) } ?? false
    }
}

extension JournalReader {
    /// What one search has gone through.
    package struct SearchSummary: Sendable, Equatable {
        /// Lines that were looked at.
        package var records = 0
        package var found = 0
        /// Lines that are no records; ``JournalVerifier`` says more.
        package var unreadable = 0
    }

    /// Looks through the whole journal, oldest first, in constant memory. Lines that do not match are never parsed.
    ///
    /// - Parameter body: gets each record that matches; false ends the search.
    @discardableResult
    package func search(_ filter: JournalFilter, _ body: (JournalEntry) throws -> Bool) throws -> SearchSummary {
        var summary = SearchSummary()
        for number in try self.segments.numbers() {
            guard var reader = try self.segments.reader(number) else { continue }
            while let line = try reader.next() {
                guard line.isComplete else { continue }
                summary.records += 1
                guard let matches = line.bytes.withUnsafeBytes({ filter.matches($0) }) else {
                    summary.unreadable += 1
                    continue
                }
                guard matches, let entry = JournalEntry(line.bytes) else { continue }
                summary.found += 1
                guard try body(entry) else { return summary }
            }
        }
        return summary
    }
}
