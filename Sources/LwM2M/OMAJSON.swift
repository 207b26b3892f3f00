/// The JSON of LwM2M 1.0, content format 11543 (spec 3.5).
enum OMAJSON {
    static func decode(_ bytes: [UInt8], at path: LwM2MPath) throws(PayloadError) -> [ObjectContent] {
        var reader = try JSONReader(bytes)
        var object = try reader.enterObject()
        var baseName: [UInt8]?
        var entries: Int?
        var fields = FieldSet()
        while try reader.next(in: &object) {
            let name = try reader.readName()
            _ = reader.peek()
            let start = reader.position
            switch name {
            case "bn":
                try fields.insert(0, at: start)
                baseName = try reader.readString()
            case "e":
                // Read at the end, because the base name may stand behind it.
                try fields.insert(1, at: start)
                entries = start
                try reader.skip()
            case "bt":
                try fields.insert(2, at: start)
                _ = try reader.readNumber()
            default: try reader.skip()
            }
        }
        try reader.finish()
        guard let entries else { throw PayloadError(.wrongShape, at: 0) }
        reader.move(to: entries)
        return try Self.readEntries(&reader, of: bytes, baseName: baseName, at: path)
    }

    private static func readEntries(
        _ reader: inout JSONReader,
        of bytes: [UInt8],
        baseName: [UInt8]?,
        at path: LwM2MPath
    ) throws(PayloadError) -> [ObjectContent] {
        var content = DocumentContent(.json, at: path)
        var array = try reader.enterArray()
        while try reader.next(in: &array) {
            let entry = try Self.readEntry(&reader)
            guard let (scalar, literal) = entry.value else { throw PayloadError(.notOneValue, at: entry.start) }
            guard let resolved = Self.path(of: entry.name, baseName: baseName, at: path) else {
                throw PayloadError(.badName, at: entry.start)
            }
            try content.add(scalar, literal: Array(bytes[literal]), at: resolved, offset: literal.lowerBound)
        }
        return content.objects
    }

    private struct Entry {
        let start: Int
        var name: [UInt8] = []
        var value: (scalar: Scalar, literal: Range<Int>)?

        mutating func set(_ scalar: Scalar, in literal: Range<Int>) throws(PayloadError) {
            guard self.value == nil else { throw PayloadError(.notOneValue, at: literal.lowerBound) }
            self.value = (scalar, literal)
        }
    }

    private static func readEntry(_ reader: inout JSONReader) throws(PayloadError) -> Entry {
        var object = try reader.enterObject()
        var entry = Entry(start: reader.position - 1)
        var fields = FieldSet()
        while try reader.next(in: &object) {
            let name = try reader.readName()
            _ = reader.peek()
            let start = reader.position
            switch name {
            case "n":
                try fields.insert(0, at: start)
                entry.name = try reader.readString()
            case "v":
                let number = try reader.readNumber()
                try entry.set(number, in: start..<reader.position)
            case "bv":
                let value = try reader.readBoolean()
                try entry.set(.boolean(value), in: start..<reader.position)
            case "sv":
                let text = try reader.readString()
                try entry.set(.text(text), in: start..<reader.position)
            case "ov":
                let text = try reader.readString()
                guard ObjectLink(text: text) != nil else { throw PayloadError(.wrongField, at: start) }
                try entry.set(.link(text), in: start..<reader.position)
            case "t":
                try fields.insert(1, at: start)
                _ = try reader.readNumber()
            default: try reader.skip()
            }
        }
        return entry
    }

    /// Base name and name in one. Without a base name, a name is below the path of the request.
    private static func path(of name: [UInt8], baseName: [UInt8]?, at path: LwM2MPath) -> LwM2MPath? {
        if let baseName { return LwM2MPath(name: baseName, name) }
        if name.isEmpty { return path }
        if name.first == UInt8(ascii: "/") { return LwM2MPath(name: name) }
        return LwM2MPath(name: [UInt8(ascii: "/")], name)?.relative(to: path)
    }

    static func encode(_ values: [DocumentValue], at path: LwM2MPath) -> [UInt8] {
        let (base, names) = SenML.names(of: values, at: path)
        var writer = JSONWriter()
        writer.append("{\"bn\":")
        writer.append(quoted: Array(base.utf8))
        writer.append(",\"e\":[")
        for (index, (value, name)) in zip(values, names).enumerated() {
            writer.append(index == 0 ? "{" : ",{")
            if let name {
                writer.append("\"n\":")
                writer.append(quoted: Array(name.utf8))
                writer.append(",")
            }
            switch value.item.kind {
            case .number: writer.append("\"v\":")
            case .boolean: writer.append("\"bv\":")
            case .string, .opaque: writer.append("\"sv\":")
            case .objectLink: writer.append("\"ov\":")
            }
            writer.append(value.item, data: Base64.encode)
            writer.append("}")
        }
        writer.append("]}")
        return writer.bytes
    }

    /// The fields of one object that were seen.
    private struct FieldSet {
        private var seen: UInt8 = 0

        mutating func insert(_ field: UInt8, at offset: Int) throws(PayloadError) {
            guard self.seen & 1 << field == 0 else { throw PayloadError(.duplicateField, at: offset) }
            self.seen |= 1 << field
        }
    }
}
