import sys; sys.path.insert(0,'/tmp/wt5/src')
import os; 
exec(open('/tmp/moon/der.py').read().replace("exec(open('/tmp/moon/try.py').read().split(\"if __name__\")[0])","import time,resource,numpy as np,soundfile as sf\nclass Rec:\n    def __init__(s,a): s.a=a; s.length=len(a); s.channels=1\n    def read(s,i,j,channel=None):\n        out=np.zeros(j-i,np.float32); part=s.a[i:min(j,s.length)]; out[:len(part)]=part; return out\ndef load(p):\n    a,sr=sf.read(p,dtype='float32'); a=a if a.ndim==1 else a.mean(1)\n    return Rec(np.ascontiguousarray(a))"))
from pathlib import Path
from asr.diarization.engines.community1 import Community1Engine
from asr.diarization.engine import DiarizeOptions
from core.engines import EngineContext
e=Community1Engine(EngineContext(model=Path('/tmp/moon/m'),model_id='diarization-community1',threads=1)); t=time.time(); e.load(); print('load %.2f'%(time.time()-t))
for n,rn in SETS:
    r=load(D2+n); t=time.process_time(); d=e.diarize(r,DiarizeOptions(),progress=lambda _:None); t=time.process_time()-t
    print(n,'x%.1f'%(r.length/16000/t),'DER %.1f conf %.1f miss %.1f fa %.1f'%score(d.turns,rn,r.length/16000),'spk',len(d.embeddings),len(d.turns),'rss',resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024,flush=True)
