import sys; sys.argv=['x']
exec(open('/tmp/moon/try.py').read().split("if __name__")[0])
sys.path.append('/tmp/exp/pya')
import pickle
from pyannote.core import Annotation,Segment
from pyannote.metrics.diarization import DiarizationErrorRate
D2='/work/shared/data/conversation/'
def ref(n):
    a=Annotation()
    for i,l in enumerate(open(D2+n+'.rttm')):
        f=l.split(); a[Segment(float(f[3]),float(f[3])+float(f[4])),i]=f[7]
    return a
def hyp(ts):
    a=Annotation()
    for i,t in enumerate(ts): a[Segment(t.start,t.end),i]=str(t.speaker)
    return a
SETS=[('sample.wav','sample'),('ami_m1.flac','ami_m1'),('conv2_clean.flac','conv2_clean'),('conv3_overlap.flac','conv3_overlap'),('conv2_noise10dB.flac','conv2_clean')]
import os
def heard(n):
    p='/tmp/moon/h_'+n+'.pkl'
    if os.path.exists(p): return pickle.load(open(p,'rb'))
    r=load(D2+n); t=time.process_time(); h=hear(r); print(n,'cpu x%.1f'%(r.length/16000/(time.process_time()-t)),flush=True)
    pickle.dump((r,h),open(p,'wb')); return r,h
def score(ts,rn,dur):
    from pyannote.core import Timeline
    d=DiarizationErrorRate(collar=0.0,skip_overlap=False)(ref(rn),hyp(ts),uem=Timeline([Segment(0,dur)]),detailed=True)
    T=d['total']; return 100*d['diarization error rate'],100*d['confusion']/T,100*d['missed detection']/T,100*d['false alarm']/T
