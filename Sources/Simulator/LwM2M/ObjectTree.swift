/// What a device holds: objects, their instances, their resources as raw values.
///
/// Resources of the objects here are single, so a multiple resource is kept whole, as the bytes of its instances.
struct ObjectTree {
    typealias Resources = [UInt16: [UInt8]]

    private(set) var objects: [UInt16: [UInt16: Resources]] = [:]

    /// What a write may find wrong.
    enum WriteProblem: Error {
        case path, payload, contentFormat

        var code: Code {
            switch self {
            case .path, .payload: .badRequest
            case .contentFormat: .unsupportedContentFormat
            }
        }
    }

    subscript(object: UInt16) -> [UInt16: Resources] { self.objects[object] ?? [:] }

    mutating func set(_ object: UInt16, _ instance: UInt16, _ resources: Resources) {
        self.objects[object, default: [:]][instance] = resources
    }

    /// The numbers of `/0/1/2`; nil when a segment is no number of 16 bits.
    static func numbers(of path: String) -> [UInt16]? {
        let segments = path.split(separator: "/")
        let numbers = segments.compactMap { UInt16($0) }
        return numbers.count == segments.count ? numbers : nil
    }

    /// Replaces what is at `path` with `payload`, at any of the three levels. Returns the instances that it touched.
    mutating func write(
        _ payload: [UInt8],
        format: UInt16?,
        at path: [UInt16]
    ) throws(WriteProblem) -> [(object: UInt16, instance: UInt16)] {
        guard let object = path.first, path.count <= 3 else { throw .path }
        switch format {
        case ContentFormat.senMLJSON: return try self.write(SenML.read(payload), at: path)
        case ContentFormat.senMLCBOR: return try self.write(SenMLCBOR.read(payload), at: path)
        default: break
        }
        if path.count == 3 {
            let value = try Self.value(payload, format: format, object: object, resource: path[2])
            self.objects[object, default: [:]][path[1], default: [:]][path[2]] = value
            return [(object, path[1])]
        }
        guard format == ContentFormat.tlv else { throw .contentFormat }
        let records = try Self.records(payload)
        if path.count == 2, !records.contains(where: { $0.kind == .objectInstance }) {
            self.set(object, path[1], Self.resources(records))
            return [(object, path[1])]
        }
        var touched: [(object: UInt16, instance: UInt16)] = []
        for record in records {
            guard record.kind == .objectInstance, path.count == 1 || record.identifier == path[1] else {
                throw .payload
            }
            self.set(object, record.identifier, Self.resources(try Self.records(record.value)))
            touched.append((object, record.identifier))
        }
        return touched
    }

    /// Replaces the instances that the records name, or one resource; nothing else may be named.
    private mutating func write(
        _ records: [SenML.Record]?, at path: [UInt16]
    ) throws(WriteProblem) -> [(object: UInt16, instance: UInt16)] {
        guard let records, !records.isEmpty else { throw .payload }
        var instances: [UInt16: Resources] = [:]
        for record in records {
            guard let numbers = Self.numbers(of: record.name), numbers.count == 3, numbers.starts(with: path),
                let value = record.value
            else { throw .payload }
            instances[numbers[1], default: [:]][numbers[2]] = value.raw
        }
        for (instance, resources) in instances {
            if path.count == 3 {
                let present = self.objects[path[0]]?[instance] ?? [:]
                self.set(path[0], instance, present.merging(resources) { $1 })
            } else {
                self.set(path[0], instance, resources)
            }
        }
        return instances.keys.sorted().map { (path[0], $0) }
    }

    /// Removes what is at `path`, except the instances that `isKept` names.
    mutating func delete(at path: [UInt16], isKept: (_ object: UInt16, _ instance: UInt16) -> Bool) {
        for (object, instances) in self.objects where path.isEmpty || path[0] == object {
            for instance in instances.keys where path.count < 2 || path[1] == instance {
                if !isKept(object, instance) { self.objects[object]?[instance] = nil }
            }
        }
    }

    /// The value at `path` and its content format: one resource as text, an instance or an object as TLV; nil where
    /// nothing is.
    func read(_ path: [UInt16]) -> (payload: [UInt8], format: UInt16)? {
        if path.count == 1, let instances = self.objects[path[0]], !instances.isEmpty {
            let records = instances.sorted { $0.key < $1.key }
                .map { TLV.Record(kind: .objectInstance, identifier: $0.key, value: Self.encode($0.value)) }
            return (TLV.write(records), ContentFormat.tlv)
        }
        guard path.count >= 2, let resources = self.objects[path[0]]?[path[1]] else { return nil }
        if path.count == 2 { return (Self.encode(resources), ContentFormat.tlv) }
        guard path.count == 3, let value = resources[path[2]] else { return nil }
        if path[0] == 19 { return (value, ContentFormat.octets) }
        if Self.isInteger(object: path[0], resource: path[2]), let number = TLV.integer(of: value) {
            return (Array(String(number).utf8), ContentFormat.text)
        }
        return (value, ContentFormat.text)
    }

    /// The object links that a registration carries.
    var links: String {
        self.objects.sorted { $0.key < $1.key }.filter { $0.key != 0 && !$0.value.isEmpty }
            .flatMap { object, instances in instances.keys.sorted().map { "</\(object)/\($0)>" } }
            .joined(separator: ",")
    }

    private static func encode(_ resources: Resources) -> [UInt8] {
        TLV.write(
            resources.sorted { $0.key < $1.key }
                .map { TLV.Record(kind: .resource, identifier: $0.key, value: $0.value) }
        )
    }

    private static func records(_ bytes: [UInt8]) throws(WriteProblem) -> [TLV.Record] {
        do { return try TLV.read(bytes) } catch { throw .payload }
    }

    private static func resources(_ records: [TLV.Record]) -> Resources {
        Resources(records.map { ($0.identifier, $0.value) }, uniquingKeysWith: { $1 })
    }

    private static func value(
        _ payload: [UInt8],
        format: UInt16?,
        object: UInt16,
        resource: UInt16
    ) throws(WriteProblem) -> [UInt8] {
        switch format {
        case ContentFormat.tlv:
            let records = try self.records(payload)
            guard records.count == 1, records[0].identifier == resource else { throw .payload }
            return records[0].value
        case ContentFormat.text, nil:
            guard self.isInteger(object: object, resource: resource) else { return payload }
            guard let number = Int64(String(decoding: payload, as: UTF8.self)) else { throw .payload }
            return TLV.integer(number)
        case ContentFormat.octets: return payload
        default: throw .contentFormat
        }
    }

    /// Which resources are integers, of the objects that this device has.
    private static func isInteger(object: UInt16, resource: UInt16) -> Bool {
        switch object {
        case 0: [2, 10, 11, 12].contains(resource)
        case 1: [0, 1, 2, 3, 5].contains(resource)
        case 3: [9, 13].contains(resource)
        default: false
        }
    }
}
