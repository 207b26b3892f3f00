/// LwM2M CBOR, content format 11544 (spec 3.6).
enum LwM2MCBOR {
    /// A value with the keys that lead to it, which may begin at the root or at the path of the request.
    private struct Leaf {
        let keys: LwM2MPath
        let scalar: Scalar
        let literal: Range<Int>
    }

    /// Keys are taken from the root when all of them lead from there to resources under the path, and from the path
    /// otherwise: servers do both.
    static func decode(_ bytes: [UInt8], at path: LwM2MPath) throws(PayloadError) -> [ObjectContent] {
        var reader = try CBORReader(bytes)
        var leaves: [Leaf] = []
        try Self.readMap(&reader, below: .root, into: &leaves)
        try reader.finish()
        let areAbsolute = leaves.allSatisfy { $0.keys.count >= 3 && $0.keys.isWithin(path) }
        var content = DocumentContent(.lwm2mCBOR, at: path)
        for leaf in leaves {
            guard let resolved = areAbsolute ? leaf.keys : leaf.keys.relative(to: path), resolved.count >= 3 else {
                throw PayloadError(.outsidePath, at: leaf.literal.lowerBound)
            }
            try content.add(
                leaf.scalar,
                literal: Array(bytes[leaf.literal]),
                at: resolved,
                offset: leaf.literal.lowerBound
            )
        }
        return content.objects
    }

    /// Reads the map of one level. Each key leads at least one level down, so there are at most four maps in each other.
    private static func readMap(
        _ reader: inout CBORReader,
        below keys: LwM2MPath,
        into leaves: inout [Leaf]
    ) throws(PayloadError) {
        let start = reader.position
        var map = try reader.enter(.map)
        var seen: Set<LwM2MPath> = []
        while try reader.next(in: &map) {
            let keyStart = reader.position
            let next = try Self.readKey(&reader, below: keys)
            guard seen.insert(next).inserted else { throw PayloadError(.duplicateField, at: keyStart) }
            if try reader.peek() == .map {
                try Self.readMap(&reader, below: next, into: &leaves)
                continue
            }
            let valueStart = reader.position
            let scalar = try reader.readScalar()
            guard leaves.count < PayloadCodec.maximumRecords else {
                throw PayloadError(.tooManyRecords, at: valueStart)
            }
            leaves.append(Leaf(keys: next, scalar: scalar, literal: valueStart..<reader.position))
        }
        // Nothing is said of what an empty map below the first would mean.
        guard !seen.isEmpty || keys == .root else { throw PayloadError(.wrongShape, at: start) }
    }

    /// A key is one level, or an array of several.
    private static func readKey(
        _ reader: inout CBORReader,
        below keys: LwM2MPath
    ) throws(PayloadError) -> LwM2MPath {
        guard try reader.peek() == .array else { return try Self.readLevel(&reader, below: keys) }
        let start = reader.position
        var array = try reader.enter(.array)
        var path = keys
        while try reader.next(in: &array) { path = try Self.readLevel(&reader, below: path) }
        guard path.count > keys.count else { throw PayloadError(.badName, at: start) }
        return path
    }

    private static func readLevel(
        _ reader: inout CBORReader,
        below keys: LwM2MPath
    ) throws(PayloadError) -> LwM2MPath {
        let start = reader.position
        guard try reader.peek() == .unsigned, case .unsigned(let number) = try reader.readInteger(),
            let identifier = UInt16(exactly: number), let path = keys.appending(identifier)
        else { throw PayloadError(.badName, at: start) }
        return path
    }

    // MARK: - Encoding

    /// Keys from the root; levels that have one entry only stand in one array with the next.
    static func encode(_ values: [DocumentValue]) -> [UInt8] {
        var writer = CBORWriter()
        Self.append(values[...], level: 0, to: &writer)
        return writer.bytes
    }

    /// Appends the map of values that agree in all levels above `level`.
    private static func append(_ values: ArraySlice<DocumentValue>, level: Int, to writer: inout CBORWriter) {
        let groups = Self.groups(of: values, level: level)
        writer.append(map: groups.count)
        for group in groups {
            guard let first = group.first else { continue }
            var end = level + 1
            while end < first.path.count, Self.groups(of: group, level: end).count == 1 { end += 1 }
            let keys = first.path.levels[level..<end]
            if keys.count > 1 { writer.append(array: keys.count) }
            for key in keys { writer.append(unsigned: UInt64(key)) }
            if end == first.path.count {
                writer.append(first.item)
            } else {
                Self.append(group, level: end, to: &writer)
            }
        }
    }

    /// Runs of values with the same identifier at `level`. A tree has each identifier once on a level.
    private static func groups(of values: ArraySlice<DocumentValue>, level: Int) -> [ArraySlice<DocumentValue>] {
        var groups: [ArraySlice<DocumentValue>] = []
        var start = values.startIndex
        while start < values.endIndex {
            let identifier = values[start].path.identifier(at: level)
            let end = values[start...].firstIndex { $0.path.identifier(at: level) != identifier } ?? values.endIndex
            groups.append(values[start..<end])
            start = end
        }
        return groups
    }
}
