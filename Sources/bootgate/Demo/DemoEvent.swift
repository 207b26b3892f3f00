internal import Foundation

/// One line of a far end: what happened there, and its fields.
struct DemoEvent {
    let name: String
    private let fields: [String: Any]

    /// Nil for a line that is not an event.
    init?(_ line: String) {
        guard let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any],
            let name = object["event"] as? String
        else { return nil }
        self.name = name
        self.fields = object
    }

    func text(_ field: String) -> String? { self.fields[field] as? String }
    func integer(_ field: String) -> Int? { (self.fields[field] as? NSNumber)?.intValue }
    func boolean(_ field: String) -> Bool { (self.fields[field] as? NSNumber)?.boolValue ?? false }
    func list(_ field: String) -> [String] { self.fields[field] as? [String] ?? [] }
}
