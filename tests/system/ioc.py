"""A real IOC in a process of its own: sets what it is told to on standard input, a line of JSON each.

``{"set": {"A": 1.5}}`` sets records, ``{"beat": [first, n, period_s]}`` counts PULSE up and A with it,
``{"ramp": n}`` sets all numbered records n times. Every line is answered by one line when it is done.
"""

import json
import sys
import time

from softioc import asyncio_dispatcher, builder, softioc


def main(prefix: str, n_scalars: int, kind: str) -> None:
    dispatcher = asyncio_dispatcher.AsyncioDispatcher()
    builder.SetDeviceName(prefix)
    records = {
        "A": builder.aOut("A", initial_value=1.5, HIHI=100, HHSV="MAJOR", LOW=-100, LSV="MINOR"),
        "I": builder.longOut("I", initial_value=7),
        "E": builder.mbbOut("E", "off", "on", "broken", initial_value=1),
        "S": builder.stringOut("S", initial_value="hello"),
        "L": builder.longStringOut("L", length=500, initial_value="long " * 20),
        "W": builder.WaveformOut("W", length=64, datatype=float, initial_value=[1.0, 2.0, 3.0]),
        "H": builder.WaveformOut("H", length=16, datatype="int16", initial_value=[1, -2]),
        "STATIC": builder.aOut("STATIC", initial_value=42.0),
        "PULSE": builder.aOut("PULSE", initial_value=0.0),
    }
    if kind == "other":  # what another version of the same device may be like
        records["X"] = builder.WaveformOut("X", length=4, datatype=float, initial_value=[1.0, 2.0])
    else:
        records["X"] = builder.longOut("X", initial_value=5)
    scalars = [builder.aOut(f"N{i}", initial_value=float(i)) for i in range(n_scalars)]
    builder.LoadDatabase()
    softioc.iocInit(dispatcher)
    print("ready", flush=True)
    for line in sys.stdin:
        for key, told in json.loads(line).items():
            if key == "set":
                for name, value in told.items():
                    records[name].set(value)
            elif key == "beat":
                first, n, period_s = told
                for pulse_id in range(first, first + n):
                    records["PULSE"].set(float(pulse_id))
                    records["A"].set(float(pulse_id))
                    time.sleep(period_s)
            elif key == "ramp":
                for step in range(1, told + 1):
                    for i, record in enumerate(scalars):
                        record.set(float(i + 10_000 * step))
                    time.sleep(0.2)
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
