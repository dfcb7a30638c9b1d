exec(open('/tmp/wt5/scratch/eng.py').read().split("for n,rn in SETS")[0])
import subprocess
from utils.audio.decode import Limits,to_pcm
import asyncio,tempfile
B='/work/shared/data/'
def dec(p):
    out='/tmp/moon/x.s16'
    pcm=asyncio.run(to_pcm(Path(p),Path(out),limits=Limits(max_seconds=4000,timeout=60)))
    a=pcm.read(); 
    if pcm.sample_rate!=16000:
        import soxr; a=soxr.resample(a,pcm.sample_rate,16000).astype(np.float32)
    return Rec(a)
import glob
for n in ['en/jfk.wav','en/two_cities_16k.wav','en/en.mp3','multi/de.mp3','multi/es.mp3','multi/multilingual_en_de.mp3','telephone/conv2_tel8k.wav']+[f[len(B):] for f in sorted(glob.glob(B+'nospeech/*'))]:
    r=dec(B+n); d=e.diarize(r,DiarizeOptions(),progress=lambda _:None)
    extra=' DER %.1f conf %.1f'%score(d.turns,'conv2_clean',r.length/16000)[:2] if 'tel8k' in n else ''
    print(n,'%.0fs'%(r.length/16000),'spk',len(d.embeddings),'turns',len(d.turns),extra,flush=True)
