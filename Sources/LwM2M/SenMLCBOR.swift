/// SenML CBOR, content format 112 (spec 3.4).
enum SenMLCBOR {
    static func decode(_ bytes: [UInt8], at path: LwM2MPath) throws(PayloadError) -> [ObjectContent] {
        var reader = try CBORReader(bytes)
        var document = SenML.Document(.senMLCBOR, at: path)
        var records = try reader.enter(.array)
        while try reader.next(in: &records) {
            let record = try Self.readRecord(&reader)
            try document.add(record) { Array(bytes[$0]) }
        }
        try reader.finish()
        return document.content.objects
    }

    private static func readRecord(_ reader: inout CBORReader) throws(PayloadError) -> SenML.Record {
        var record = SenML.Record(start: reader.position)
        var map = try reader.enter(.map)
        while try reader.next(in: &map) {
            let label = try Self.readLabel(&reader)
            let start = reader.position
            try record.note(label, at: start)
            switch label {
            case .baseVersion: try SenML.Record.check(version: reader.readScalar(), at: start)
            case .baseName: record.baseName = try reader.readText()
            case .name: record.name = try reader.readText()
            case .value: try Self.readValue(&reader, of: .number, into: &record)
            case .stringValue: try Self.readValue(&reader, of: .string, into: &record)
            case .booleanValue: try Self.readValue(&reader, of: .boolean, into: &record)
            case .dataValue: try Self.readValue(&reader, of: .opaque, into: &record)
            case .objectLinkValue:
                let text = try reader.readText()
                guard ObjectLink(text: text) != nil else { throw PayloadError(.wrongField, at: start) }
                try record.set(.link(text), in: start..<reader.position)
            case .baseTime, .time, .updateTime:
                guard try reader.readScalar().kind == .number else { throw PayloadError(.wrongField, at: start) }
            case .baseUnit, .unit: _ = try reader.readText()
            // They would change what values mean, and LwM2M has no use for them.
            case .baseValue, .baseSum, .sum: throw PayloadError(.unsupportedField, at: start)
            case .unknown: try reader.skip()
            }
        }
        return record
    }

    private static func readValue(
        _ reader: inout CBORReader,
        of kind: ValueSpelling.Kind,
        into record: inout SenML.Record
    ) throws(PayloadError) {
        let start = reader.position
        let scalar = try reader.readScalar()
        guard scalar.kind == kind else { throw PayloadError(.wrongField, at: start) }
        try record.set(scalar, in: start..<reader.position)
    }

    /// Labels are integers; of LwM2M's own one is text.
    private static func readLabel(_ reader: inout CBORReader) throws(PayloadError) -> SenML.Label {
        let start = reader.position
        switch try reader.peek() {
        case .unsigned, .negative: return SenML.Label(cbor: try reader.readInteger())
        case .text:
            let text = try reader.readText()
            if text.elementsEqual("vlo".utf8) { return .objectLinkValue }
            // Must be understood, and is not.
            guard text.last != UInt8(ascii: "_") else { throw PayloadError(.unsupportedField, at: start) }
            return .unknown
        default: throw PayloadError(.wrongShape, at: start)
        }
    }

    static func encode(_ values: [DocumentValue], at path: LwM2MPath) -> [UInt8] {
        let (base, names) = SenML.names(of: values, at: path)
        var writer = CBORWriter()
        writer.append(array: values.count)
        for (index, (value, name)) in zip(values, names).enumerated() {
            writer.append(map: 1 + (index == 0 ? 1 : 0) + (name == nil ? 0 : 1))
            if index == 0 {
                writer.append(label: -2)
                writer.append(text: Array(base.utf8))
            }
            if let name {
                writer.append(label: 0)
                writer.append(text: Array(name.utf8))
            }
            switch value.item.kind {
            case .number: writer.append(label: 2)
            case .string: writer.append(label: 3)
            case .boolean: writer.append(label: 4)
            case .opaque: writer.append(label: 8)
            case .objectLink: writer.append(text: Array("vlo".utf8))
            }
            writer.append(value.item)
        }
        return writer.bytes
    }
}
