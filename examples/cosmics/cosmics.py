import libecs                                        # (a) three processes in a lab, no daemon
lab = libecs.workflow("cosmics", tasks={
    "hv": libecs.task("python3 hv.py"),              # an OCC task
    "daq": libecs.task("./digitizer -o {{run_dir}}/raw.dat", mode="basic", stop="SIGINT", start_after=["hv"]),
    "trigger": libecs.task(attach="tcp://pi-trigger:47100", start_after=["daq"])})   # STOP in reverse
with libecs.local(state="~/cosmics", orphans="stop") as ecs:
    with ecs.environment(lab, vars={"hv.volts": 1450}) as env:
        for _ in range(10):
            try:
                with env.run(duration="30min", comment="night") as run:
                    run.wait(until=lambda m: m["trigger:events"].last >= 1_000_000)
            except libecs.RunFailed as e:
                print(e.cause); env.recover()
            print(run.number, run.condition, run.end_reason, run.metrics["trigger:rate"].mean)
