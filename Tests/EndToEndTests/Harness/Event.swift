internal import Foundation
internal import Synchronization

/// A line that is a JSON object: an event of the simulator, a record of the audit journal, or an entry of the log.
struct Event: Sendable, CustomStringConvertible {
    let description: String
    private let fields: [String: Value]

    private enum Value: Sendable, Decodable {
        case text(String)
        case integer(Int)
        case boolean(Bool)
        case list([Value])
        case object([String: Value])
        case other

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let value = try? container.decode(Bool.self) {
                self = .boolean(value)
            } else if let value = try? container.decode(Int.self) {
                self = .integer(value)
            } else if let value = try? container.decode(String.self) {
                self = .text(value)
            } else if let value = try? container.decode([Value].self) {
                self = .list(value)
            } else if let value = try? container.decode([String: Value].self) {
                self = .object(value)
            } else {
                self = .other
            }
        }
    }

    /// Nil for a line that is no JSON object.
    init?(_ line: String) {
        guard let fields = try? JSONDecoder().decode([String: Value].self, from: Data(line.utf8)) else { return nil }
        self.description = line
        self.fields = fields
    }

    var name: String? { self.text("event") }

    func text(_ field: String) -> String? {
        if case .text(let value)? = self.fields[field] { return value }
        return nil
    }

    func integer(_ field: String) -> Int? {
        if case .integer(let value)? = self.fields[field] { return value }
        return nil
    }

    func boolean(_ field: String) -> Bool? {
        if case .boolean(let value)? = self.fields[field] { return value }
        return nil
    }

    func list(_ field: String) -> [String] {
        guard case .list(let values)? = self.fields[field] else { return [] }
        return values.compactMap { value in
            if case .text(let text) = value { return text }
            return nil
        }
    }
}

extension Lines {
    /// The events so far.
    var events: [Event] { self.all.compactMap(Event.init) }

    func events(_ name: String) -> [Event] { self.events.filter { $0.name == name } }
}

extension Program {
    /// The first event, of all so far and of those to come, with this name that matches.
    @discardableResult
    func event(
        _ name: String, within limit: Duration = .seconds(30),
        where matches: @Sendable @escaping (Event) -> Bool = { _ in true }
    ) async throws -> Event {
        try await self.first(in: self.output, "event '\(name)'", within: limit) { $0.name == name && matches($0) }
    }

    /// The second event with this name, the third, and so on.
    @discardableResult
    func event(_ name: String, number: Int) async throws -> Event {
        let count = Atomic(0)
        return try await self.event(name) { _ in count.add(1, ordering: .relaxed).newValue == number }
    }

    /// The first entry of the log that matches.
    @discardableResult
    func logged(
        _ what: String, within limit: Duration = .seconds(30), where matches: @Sendable @escaping (Event) -> Bool
    ) async throws -> Event {
        try await self.first(in: self.errors, "log entry about \(what)", within: limit, where: matches)
    }

    private func first(
        in lines: Lines, _ what: String, within limit: Duration, where matches: @Sendable @escaping (Event) -> Bool
    ) async throws -> Event {
        let line = await lines.first(within: limit) { line in Event(line).map(matches) ?? false }
        guard let event = line.flatMap(Event.init) else { throw Unexpected("no \(what) from \(self.name)") }
        return event
    }
}
