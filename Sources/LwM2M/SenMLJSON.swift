/// SenML JSON, content format 110 (spec 3.4).
enum SenMLJSON {
    static func decode(_ bytes: [UInt8], at path: LwM2MPath) throws(PayloadError) -> [ObjectContent] {
        var reader = try JSONReader(bytes)
        var document = SenML.Document(.senMLJSON, at: path)
        var records = try reader.enterArray()
        while try reader.next(in: &records) {
            let record = try Self.readRecord(&reader)
            try document.add(record) { Array(bytes[$0]) }
        }
        try reader.finish()
        return document.content.objects
    }

    private static func readRecord(_ reader: inout JSONReader) throws(PayloadError) -> SenML.Record {
        var object = try reader.enterObject()
        var record = SenML.Record(start: reader.position - 1)
        while try reader.next(in: &object) {
            let name = try reader.readName()
            let label = SenML.Label(json: name)
            _ = reader.peek()
            let start = reader.position
            try record.note(label, at: start)
            switch label {
            case .baseVersion: try SenML.Record.check(version: reader.readNumber(), at: start)
            case .baseName: record.baseName = try reader.readString()
            case .name: record.name = try reader.readString()
            case .value:
                let number = try reader.readNumber()
                try record.set(number, in: start..<reader.position)
            case .stringValue:
                let text = try reader.readString()
                try record.set(.text(text), in: start..<reader.position)
            case .booleanValue:
                let value = try reader.readBoolean()
                try record.set(.boolean(value), in: start..<reader.position)
            case .dataValue:
                guard let data = Base64.decode(try reader.readString()) else {
                    throw PayloadError(.wrongField, at: start)
                }
                try record.set(.opaque(data), in: start..<reader.position)
            case .objectLinkValue:
                let text = try reader.readString()
                guard ObjectLink(text: text) != nil else { throw PayloadError(.wrongField, at: start) }
                try record.set(.link(text), in: start..<reader.position)
            case .baseTime, .time, .updateTime: _ = try reader.readNumber()
            case .baseUnit, .unit: _ = try reader.readString()
            // They would change what values mean, and LwM2M has no use for them.
            case .baseValue, .baseSum, .sum: throw PayloadError(.unsupportedField, at: start)
            case .unknown:
                // Must be understood, and is not.
                guard !name.hasSuffix("_") else { throw PayloadError(.unsupportedField, at: start) }
                try reader.skip()
            }
        }
        return record
    }

    static func encode(_ values: [DocumentValue], at path: LwM2MPath) -> [UInt8] {
        let (base, names) = SenML.names(of: values, at: path)
        var writer = JSONWriter()
        writer.append("[")
        for (index, (value, name)) in zip(values, names).enumerated() {
            writer.append(index == 0 ? "{" : ",{")
            if index == 0 {
                writer.append("\"bn\":")
                writer.append(quoted: Array(base.utf8))
                writer.append(",")
            }
            if let name {
                writer.append("\"n\":")
                writer.append(quoted: Array(name.utf8))
                writer.append(",")
            }
            switch value.item.kind {
            case .number: writer.append("\"v\":")
            case .string: writer.append("\"vs\":")
            case .boolean: writer.append("\"vb\":")
            case .opaque: writer.append("\"vd\":")
            case .objectLink: writer.append("\"vlo\":")
            }
            writer.append(value.item, data: Base64.encodeForURL)
            writer.append("}")
        }
        writer.append("]")
        return writer.bytes
    }
}
