internal import Foundation

/// One line of a program as JSON: what happened, and its fields.
struct DemoEvent {
    private let fields: [String: Any]

    /// An event of a far end, or a record of the journal; nil for a line that names no event.
    init?(_ line: String) {
        self.init(fields: line)
        if self.text("event") == nil { return nil }
    }

    /// Any JSON object; nil for another line.
    init?(fields line: String) {
        guard let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] else {
            return nil
        }
        self.fields = object
    }

    private init(object fields: [String: Any]) { self.fields = fields }

    /// Empty for an object that is no event.
    var name: String { self.text("event") ?? "" }
    /// The time of day of a record, to the millisecond.
    var time: String { String((self.text("time") ?? "").dropFirst(11).prefix(12)) }

    func text(_ field: String) -> String? { self.fields[field] as? String }
    func integer(_ field: String) -> Int? { (self.fields[field] as? NSNumber)?.intValue }
    func boolean(_ field: String) -> Bool { (self.fields[field] as? NSNumber)?.boolValue ?? false }
    func list(_ field: String) -> [String] { self.fields[field] as? [String] ?? [] }
    func object(_ field: String) -> DemoEvent? { (self.fields[field] as? [String: Any]).map(DemoEvent.init(object:)) }
}
