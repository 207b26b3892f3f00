/// Finds the name that somebody probably meant.
enum NearestName {
    /// The candidate that is fewest edits away from `name`, at most a third of its length; nil when none is near.
    static func of(_ name: String, among candidates: some Collection<String>) -> String? {
        let wanted = Self.folded(name)
        guard wanted.count <= 64 else { return nil }
        let best =
            candidates
            .map { (name: $0, distance: Self.distance(wanted, Self.folded($0))) }
            .min { ($0.distance, $0.name) < ($1.distance, $1.name) }
        guard let best, best.distance <= max(1, wanted.count / 3) else { return nil }
        return best.name
    }

    /// `maxRetransmit`, `max_retransmit` and `max-retransmit` are one name to a person.
    private static func folded(_ name: String) -> [Character] {
        name.lowercased().filter { $0 != "-" && $0 != "_" && $0 != " " }
    }

    /// Edits between two names: a character put in, left out, changed, or swapped with its neighbour.
    private static func distance(_ left: [Character], _ right: [Character]) -> Int {
        var beforePrevious: [Int] = []
        var previous = Array(0...right.count)
        for (row, character) in left.enumerated() {
            var current = [row + 1]
            for (column, other) in right.enumerated() {
                var cost = min(
                    previous[column + 1] + 1, current[column] + 1, previous[column] + (character == other ? 0 : 1))
                if row > 0, column > 0, character == right[column - 1], left[row - 1] == other {
                    cost = min(cost, beforePrevious[column - 1] + 1)
                }
                current.append(cost)
            }
            beforePrevious = previous
            previous = current
        }
        return previous[right.count]
    }
}
